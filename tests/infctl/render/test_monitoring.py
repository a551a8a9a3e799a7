"""What Prometheus, Alertmanager and Grafana are given: every part is read, and alerts go out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from infctl.gpus import Gpu
from infctl.host import Host
from infctl.plan import place
from infctl.profile.schema import Profile
from infctl.render import render
from infctl.stack import Layout
from infctl.stack.build import build

LAYOUT = Layout(Path("/srv/p"), Path("/srv/p/.infctl/p"), beside=True)
STORE = {"kind": "redis", "url": "${REDIS_URL}"}
KINDS = ("prometheus", "alertmanager", "grafana")


def files(**rest: Any) -> dict[str, Any]:
    """Path -> its data, of the monitoring's YAML files."""
    data = {"name": "p", "models": {"chat": {"source": "a/b", "task": "chat", "replicas": 2}}}
    profile = Profile.model_validate(data | rest)
    cards = tuple(Gpu(n, "L4") for n in range(2)) if profile.gpus.kind != "cpu" else ()
    plan = place(profile, cards)
    rendered = render(build(profile, plan, LAYOUT, Host()), profile, plan, LAYOUT)
    return {f.path: yaml.safe_load(f.text) for f in rendered if f.path.startswith(KINDS)}


def jobs(**rest: Any) -> dict[str, Any]:
    found = files(**rest)["prometheus/prometheus.yml"]["scrape_configs"]
    return {job.pop("job_name"): job for job in found}


def targets(job: dict[str, Any]) -> list[str]:
    return [target for group in job["static_configs"] for target in group["targets"]]


def test_every_part_is_read() -> None:
    found = jobs()
    assert {name: targets(job) for name, job in found.items()} == {
        "gateway": ["inference-gateway:8000"],
        "vllm": ["vllm-chat0:8000", "vllm-chat1:8000"],
        "dcgm": ["dcgm-exporter:9400"],
        "prometheus": ["127.0.0.1:9090"],
        "alertmanager": ["alertmanager:9093"],
    }
    assert found["vllm"]["static_configs"][1]["labels"] == {"model": "chat", "backend": "vllm-chat1"}


def test_without_gpus_no_exporter_is_read() -> None:
    assert "dcgm" not in jobs(gpus="cpu")


def test_each_of_several_gateways_is_read() -> None:
    found = jobs(gateway={"replicas": 2, "store": STORE})["gateway"]
    assert found == {"dns_sd_configs": [{"names": ["inference-gateway"], "type": "A", "port": 8000}]}


def test_rules_are_loaded_and_times_are_the_profiles() -> None:
    data = files(monitoring={"prometheus": {"scrape_interval": "1.5s"}})
    assert data["prometheus/prometheus.yml"]["rule_files"] == ["rules/*.yml"]
    times = {"scrape_interval": "1500ms", "evaluation_interval": "1500ms"}
    assert data["prometheus/prometheus.yml"]["global"] == times


def test_alerts_go_to_alertmanager_and_from_there_to_the_profiles_webhook() -> None:
    data = files(monitoring={"alerts": {"webhook": "${HOOK}"}})
    (found,) = data["prometheus/prometheus.yml"]["alerting"]["alertmanagers"]
    assert found == {"static_configs": [{"targets": ["alertmanager:9093"]}]}
    told = {r["name"]: r for r in data["alertmanager/alertmanager.yml"]["receivers"]}
    hook = [{"url_file": "/run/infctl/alertmanager/webhook", "send_resolved": True}]
    assert told["pages"]["webhook_configs"] == told["tickets"]["webhook_configs"] == hook
    assert "webhook_configs" not in told["nobody"]


def test_without_alerts_nobody_is_told_and_figures_are_recorded_all_the_same() -> None:
    data = files(monitoring={"alerts": {"enabled": False}})
    assert "alerting" not in data["prometheus/prometheus.yml"]
    assert "prometheus/rules/recordings.yml" in data
    assert not {"prometheus/rules/alerts.yml", "alertmanager/alertmanager.yml"} & set(data)


def test_without_alertmanager_alerts_are_shown_by_prometheus() -> None:
    data = files(monitoring={"alertmanager": {"enabled": False}})
    assert "prometheus/rules/alerts.yml" in data
    assert "alerting" not in data["prometheus/prometheus.yml"]


def test_gpus_have_alerts_where_there_are_gpus() -> None:
    def subjects(**rest: Any) -> set[str]:
        groups = files(**rest)["prometheus/rules/alerts.yml"]["groups"]
        return {group["name"] for group in groups}

    assert subjects() - subjects(gpus="cpu") == {"infctl-gpus"}


def test_grafana_finds_prometheus_and_its_dashboards() -> None:
    data = files()
    (source,) = data["grafana/provisioning/datasources/prometheus.yaml"]["datasources"]
    assert (source["url"], source["isDefault"]) == ("http://prometheus:9090", True)
    (provider,) = data["grafana/provisioning/dashboards/platform.yaml"]["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"


def test_what_is_off_has_no_files() -> None:
    assert files(monitoring={"enabled": False}) == {}
    found = files(monitoring={"grafana": {"enabled": False}})
    assert {path.partition("/")[0] for path in found} == {"prometheus", "alertmanager"}
