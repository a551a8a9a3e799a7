"""`infctl doctor metrics` against pages over loopback: the gateway's own exposition, and vLLM's names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway import exposition
from gateway.metrics import Metrics
from infctl.cli import doctor_metrics, shapes
from infctl.monitoring.terms import Card, Terms
from infctl.monitoring.used import uses

from .conftest import KEY, Gateway, Run, write_profile
from .test_commands import same_keys

TERMS = Terms(0.999, 2.5, 86_400.0, 21, 15.0, cards=(Card(0, 1, (("m", "b"),)),))
ASKED = uses(TERMS, gpus_watched=True)
VLLM = "".join(f"{use.name} 1\n" for use in ASKED if use.source == "vllm").encode()
WHOLE = exposition.render(Metrics().snapshot(), "")[1]
GAUGES = b"".join(
    f"{name} 1\n".encode() for name in sorted(use.name for use in ASKED if use.source == "gateway")
)


@pytest.fixture
def platform(tmp_path: Path, gateway: Gateway, engines: tuple[Gateway, Gateway], run: Run) -> Gateway:
    write_profile(tmp_path, gateway, engines)
    gateway.answers["/metrics"] = (200, GAUGES)
    engines[0].answers["/metrics"] = (200, VLLM)
    return gateway


def test_pages_that_have_every_name_are_0(run: Run, platform: Gateway) -> None:
    done = run("doctor", "metrics")
    assert done.returncode == 0, done.stdout
    assert "every name is there" in done.stdout
    assert "not looked at, as no page of it was read: DCGM, Prometheus" in done.stdout
    told = json.loads(run("doctor", "metrics", "--json").stdout)
    assert same_keys(told, shapes.DOCTOR_METRICS)
    assert (told["good"], told["missing"], told["not_looked_at"]) == (True, [], ["dcgm", "prometheus"])


def test_a_renamed_metric_is_8_with_the_panels_and_alerts_that_ask_for_it(
    run: Run, platform: Gateway, engines: tuple[Gateway, Gateway]
) -> None:
    engines[0].answers["/metrics"] = (200, VLLM.replace(b"vllm:kv_cache_usage_perc", b"vllm:kv_use"))
    done = run("doctor", "metrics")
    assert done.returncode == 8
    assert "vllm:kv_cache_usage_perc is told by none of them" in done.stdout
    assert "alert EngineKvPressure" in done.stdout
    assert "panel Models / KV cache" in done.stdout
    (told,) = json.loads(run("doctor", "metrics", "--json").stdout)["missing"]
    assert (told["told_by"], told["pages"]) == ("vllm", ["chat", "embed"])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((401, {}), "it refuses the key (401)"),
        ((200, b"<html>"), "nothing on it is of a gateway"),
        ((503, {}), "it answers 503"),
    ],
)
def test_a_page_that_is_not_there_is_8_with_the_reason(
    run: Run, platform: Gateway, answer: tuple[int, object], why: str
) -> None:
    platform.answers["/metrics"] = answer
    done = run("doctor", "metrics")
    assert done.returncode == 8
    assert why in done.stdout
    assert "1 page not read" in done.stdout
    assert KEY not in done.stdout


def test_urls_are_taken_for_what_their_names_say(run: Run, engines: tuple[Gateway, Gateway]) -> None:
    dcgm = "".join(f"{use.name} 1\n" for use in ASKED if use.source == "dcgm").encode()
    engines[0].answers["/metrics"] = (200, dcgm.replace(b"DCGM_FI_DEV_GPU_TEMP", b"DCGM_FI_DEV_HEAT"))
    engines[1].answers["/metrics"] = (200, VLLM)
    done = run("doctor", "metrics", *(f"--url={one.url}/metrics" for one in engines))
    assert done.returncode == 8
    assert "engines: 27 of 27" in done.stdout
    assert "DCGM_FI_DEV_GPU_TEMP is told by none of them" in done.stdout
    assert "alert GpuHot" in done.stdout
    assert run("doctor", "metrics", "--url", "8000").returncode == 64


def test_metrics_of_the_gateway_that_have_no_series_yet_are_there(
    run: Run, engines: tuple[Gateway, Gateway]
) -> None:
    engines[0].answers["/metrics"] = (200, WHOLE)
    told = json.loads(run("doctor", "metrics", "--json", "--url", f"{engines[0].url}/metrics").stdout)
    # What is read of the gateway's state is declared as soon as there is a state.
    state = {one["name"] for one in told["missing"]}
    assert "infctl_retries_total" not in state
    assert "infctl_time_to_first_token_seconds_bucket" not in state


def test_names_that_prometheus_knows_of_a_job_are_its_page() -> None:
    body = json.dumps({"status": "success", "data": ["DCGM_FI_DEV_FB_USED", "up"]})
    empty = json.dumps({"status": "success", "data": ["up", "scrape_duration_seconds"]})
    seen = doctor_metrics._joined(
        doctor_metrics.Seen(),
        {
            "dcgm": {"status": 200, "body": body},
            "prometheus": {"status": 200, "body": empty},
            "alertmanager": {"error": "connect", "why": "refused"},
        },
    )
    assert seen.pages == {"dcgm": {"Prometheus's job dcgm": frozenset({"DCGM_FI_DEV_FB_USED", "up"})}}
    assert dict(seen.lost) == {
        "Prometheus's job prometheus": "it has read nothing of it",
        "Prometheus's job alertmanager": "refused",
    }
