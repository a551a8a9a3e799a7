"""What the servers say of a run: vLLM's counters, the gateway's, and the GPUs' energy."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from infctl.bench import sampler, server_side
from infctl.bench.figures import Window, figures
from infctl.bench.sampler import Page, Watching, fetch, nvml_reader
from infctl.bench.server_side import ENERGY, Sample, between, read, split, together, watched
from infctl.bench.verdict import judge
from tests.infctl.bench import pages

BEFORE = """\
# HELP vllm:generation_tokens_total Number of generation tokens processed.
vllm:generation_tokens_total{engine="0",model_name="chat"} 100.0
vllm:generation_tokens_total{engine="1",model_name="chat"} 1.0e+02
vllm:request_queue_time_seconds_sum{engine="0",model_name="chat"} 1.0
vllm:request_queue_time_seconds_count{engine="0",model_name="chat"} 10.0
vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="chat"} 10.0
"""
AFTER = (
    BEFORE.replace(" 100.0", " 150.0")
    .replace('chat"} 1.0\n', 'chat"} 2.0\n')
    .replace('count{engine="0",model_name="chat"} 10.0', 'count{engine="0",model_name="chat"} 14.0')
)


def test_what_lies_between_two_looks_is_the_runs() -> None:
    before, after = read(BEFORE, "chat"), read(AFTER, "chat")
    assert before is not None
    assert after is not None
    assert before["vllm:generation_tokens_total"] == 200
    told = between(before, after)
    assert told is not None
    assert (told["tokens_out"], told["queue_ms"], told["ttft_ms"]) == (50, 250.0, None)
    assert between(after, before) is None  # it was restarted


def test_the_only_model_is_meant_whatever_its_name_and_of_several_the_one_that_is_named() -> None:
    assert read(BEFORE, "an-alias") == read(BEFORE, "chat")
    both = BEFORE + 'vllm:generation_tokens_total{engine="0",model_name="other"} 7\n'
    assert read(both, "other") == {"vllm:generation_tokens_total": 7.0}
    assert read(both, "an-alias") is None
    assert read("infctl_requests_total 3\n", "chat") is None


def test_several_engines_are_added_up_and_the_fullest_cache_is_told() -> None:
    first, second = read(pages.vllm(1), "served"), read(pages.vllm(2), "served")
    both = together([first, None, second])
    assert both is not None
    assert both[server_side.KV_USE] == 0.5
    assert both[server_side.RUNNING] == 7
    assert (both[server_side.BLOCKS], both[server_side.BLOCK_SIZE]) == (2000, 16)
    assert together([None, None]) is None


def test_an_engines_cache_is_read_as_a_real_vllm_writes_it_down() -> None:
    text = (Path(__file__).parents[2] / "golden" / "vllm" / "cpu-chat.metrics").read_text()
    found = read(text, "m")
    assert found is not None
    assert (found[server_side.BLOCKS], found[server_side.BLOCK_SIZE]) == (182, 128)
    assert found[server_side.KV_TOKENS] == 23_296
    assert read(text, "another") == found  # the only one


def test_the_time_to_first_token_is_split_and_the_parts_add_up() -> None:
    def look(n: int) -> dict[str, float]:
        found = together([read(pages.vllm(n), "served"), read(pages.gateway(n), "served")])
        assert found is not None
        return found

    told = between(look(0), look(2))
    assert told is not None
    parts = split(told, 91.0)
    assert parts is not None
    assert {name: round(value or 0, 6) for name, value in parts.items()} == {
        "client": 6.0,
        "gateway": 5.0,
        "queue": 20.0,
        "prefill": 50.0,
        "engine": 10.0,
    }
    assert sum(value or 0 for value in parts.values()) == pytest.approx(91.0)
    assert told["gateway_overhead_ms"] == pytest.approx(0.2)
    assert told["steps"] == {"count": 200.0, "mean_tokens": 100.0, "up_to": {"64.0": 100.0, "2048.0": 200.0}}


def test_without_a_gateway_the_rest_is_the_clients_and_without_an_engine_nothing_is_split() -> None:
    told = between(read(pages.vllm(0), "m") or {}, read(pages.vllm(1), "m") or {})
    assert told is not None
    parts = split(told, 91.0)
    assert parts is not None
    assert (parts["gateway"], round(parts["client"] or 0, 6)) == (None, 11.0)
    assert split({"ttft_ms": None}, 91.0) is None
    assert split(told, None) is None


def samples(*energy: float, every_s: float = 1.0, hot: bool = False) -> list[Sample]:
    found = []
    for n, millijoules in enumerate(energy):
        look = read(pages.dcgm(0, hot=hot), "m") or {}
        found.append(Sample(n * every_s, {**look, ENERGY: millijoules}))
    return found


def test_power_is_read_where_the_counter_moves_whatever_its_age() -> None:
    """Refreshed every three seconds: 300 W."""
    told = watched(samples(0, 0, 900e3, 900e3, 900e3, 1800e3, 1800e3), 10.0, 1500.0)["energy"]
    assert told == {"source": "dcgm", "watts": 300.0, "joules": 3000.0, "joules_a_token": 2.0}


@pytest.mark.parametrize("energy", [(5.0, 5.0, 5.0), (1.0, 9.0), (9e6, 8e6, 7e6), ()])
def test_energy_is_not_measured_where_the_counter_hardly_moved_or_went_back(
    energy: tuple[float, ...],
) -> None:
    assert watched(samples(*energy), 10.0, 1500.0)["energy"] is None


def test_a_card_that_is_slowed_by_heat_is_seen_and_one_that_is_at_its_power_limit_is_not() -> None:
    assert watched(samples(1, 2, 3, hot=True), 10.0, None)["hot_share"] == 1.0
    assert watched(samples(1, 2, 3), 10.0, None)["hot_share"] == 0.0
    assert watched([], 10.0, None)["hot_share"] is None


def test_a_run_on_hot_cards_is_suspect() -> None:
    nothing = figures([], Window(0, 1_000_000))
    told = {reason.what: reason for reason in judge(nothing, {}, hot_share=0.4).reasons}
    assert (told["heat"].grade, "in 40% of the looks" in told["heat"].text) == ("suspect", True)
    assert "heat" not in {reason.what for reason in judge(nothing, {}, hot_share=0.0).reasons}


def test_only_the_models_own_cards_are_counted() -> None:
    every, one = read(pages.dcgm(0), "m"), read(pages.dcgm(0), "m", frozenset({"1"}))
    assert every is not None
    assert one is not None
    assert every[ENERGY] == 2 * one[ENERGY]
    assert one == read(pages.dcgm(0), "m", frozenset({"GPU-bbbb"}))
    assert read(pages.dcgm(0), "m", frozenset({"GPU-none"})) is None


def test_gauges_are_told_by_their_mean_and_most_while_the_run_went_on() -> None:
    looks = [Sample(float(n), read(pages.vllm(n), "served") or {}) for n in range(-1, 5)]
    told = watched(looks, 3.0, None)
    assert told["samples"] == 4
    assert told["kv_use"] == {"mean": 0.375, "most": 0.5}
    assert told["running"] == {"mean": 3.5, "most": 4.0}
    assert told["gateway_waiting"] is None


def test_pages_are_looked_at_by_a_process_of_its_own_while_a_run_goes_on() -> None:
    often = threading.Event()

    def counted(n: int) -> str:
        if n >= 5:  # once before the run, then by the process: who asks again has put down what it saw
            often.set()
        return pages.vllm(n)

    with pages.serving({"/metrics": counted, "/dcgm": pages.dcgm}) as url:
        began = time.time()
        seen = Watching((Page(f"{url}/metrics"), Page(f"{url}/dcgm")), "served", every_s=0.1).begin()
        assert often.wait(30)
        watched_ = seen.end()
    assert watched_ is not None
    inside = watched_.since(began)
    assert len(inside) >= 3
    assert all(-5 < sample.at_s < 5 for sample in inside)
    told = between(watched_.before, watched_.after)
    assert told is not None
    assert told["ttft_ms"] == pytest.approx(80.0)
    assert watched(inside, 1.0, None)["energy"]["watts"] > 0


def test_nobody_is_sampled_who_has_nothing_that_moves_and_nobody_who_is_not_there() -> None:
    with pages.serving({"/metrics": lambda _: BEFORE}) as url:
        seen = Watching((Page(f"{url}/metrics"), Page(f"{url}/nothing")), "chat").begin()
        assert seen._process is None
        found = seen.end()
    assert found is not None
    assert found.samples == ()
    assert Watching((Page("http://127.0.0.1:9/metrics"),), "chat").begin().end() is None
    assert fetch(Page("http://127.0.0.1:9/metrics")) is None


def test_the_sampler_ends_with_who_started_it() -> None:
    with pages.serving({"/metrics": pages.vllm}) as url:
        seen = Watching((Page(f"{url}/metrics"),), "served", every_s=0.1).begin()
        assert seen._process is not None
        assert seen._file is not None
        assert seen._process.stdin is not None
        seen._process.stdin.close()
        assert seen._process.wait(10) == 0
        assert seen.end() is not None
        assert not seen._file.exists()


class _Nvml:
    """As pynvml: two cards, one of which is hot."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, counts: bool = True) -> None:
        self.counts = counts

    def nvmlInit(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(number=number)

    def nvmlDeviceGetUUID(self, handle: SimpleNamespace) -> bytes:  # noqa: N802
        return b"GPU-%d" % handle.number

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: SimpleNamespace) -> int:  # noqa: N802
        if not self.counts:
            raise self.NVMLError
        return 1000 + handle.number

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: SimpleNamespace) -> int:  # noqa: N802
        return 0x40 if handle.number else 0x4


def test_nvml_is_read_as_dcgm_is() -> None:
    assert nvml_reader(_Nvml(), frozenset())() == {
        sampler.NVML_ENERGY: 2001.0,
        sampler.NVML_CARDS: 2,
        sampler.NVML_HEAT: 1,
    }
    assert nvml_reader(_Nvml(), frozenset({"GPU-0"}))()[sampler.NVML_ENERGY] == 1000
    assert sampler.NVML_ENERGY not in nvml_reader(_Nvml(counts=False), frozenset())()


@pytest.mark.gpu
def test_nvml_counts_the_energy_of_a_real_card() -> None:
    if not sampler._DRIVER.exists():
        pytest.skip("no GPU")
    import pynvml

    read_ = nvml_reader(pynvml, frozenset())
    before = read_()[sampler.NVML_ENERGY]
    end = time.monotonic() + 10
    while (used := read_()[sampler.NVML_ENERGY] - before) == 0:
        assert time.monotonic() < end
    assert 0 < used < 20_000_000


def test_a_sampler_starts_quickly_and_imports_little() -> None:
    """It runs beside a measurement: neither httpx nor Rich is in it."""
    code = (
        "import infctl.bench.sampler, sys;"
        "print([n for n in ('httpx', 'rich', 'pydantic', 'msgspec') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
