"""Settings that a run speaks for, each with its evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infctl.bench.advice import Planned, Seen, Suggestion, fits, seen, suggestions, table

PLANNED = Planned(
    model="chat",
    replicas=2,
    kv_tokens=80_000,
    max_model_len=8_192,
    max_num_seqs=64,
    max_num_batched_tokens=2048,
    in_flight=120,
    requests_per_second=50.0,
    tokens_per_minute=None,
)
CALM = Seen(
    id="calm",
    requests_per_s=4.0,
    tokens_per_s=4000.0,
    in_flight=20.0,
    tokens_a_request=1000.0,
    good_share=None,
    ttft_ms=200.0,
    queue_ms=10.0,
    prefill_ms=80.0,
    itl_p50_ms=20.0,
    itl_p99_ms=30.0,
    kv_tokens=80_128.0,
    kv_most=0.4,
    running_most=12.0,
    waiting_most=0.0,
    preemptions=0.0,
    step_tokens=100.0,
    steps_up_to={64.0: 0.5, 512.0: 0.9, 1024.0: 0.995, 2048.0: 1.0},
)


def of(setting: str, *runs: Seen, planned: Planned = PLANNED) -> Suggestion:
    return next(one for one in suggestions(planned, runs) if one.setting.endswith(setting))


def test_a_calm_run_speaks_against_nothing() -> None:
    assert [one.value for one in suggestions(PLANNED, [CALM])][:2] == [None, None]
    assert "12 of 64 places were taken" in of("max_num_seqs", CALM).evidence
    assert "nothing speaks for another" in of("batched_tokens", CALM).evidence


def test_preemptions_ask_for_fewer_places_those_that_the_cache_holds() -> None:
    run = replace(CALM, preemptions=31.0, tokens_a_request=2000.0, kv_most=1.0, running_most=64.0)
    found = of("max_num_seqs", run)
    assert (found.now, found.value) == (64, 40)
    assert "31 preemptions" in found.evidence


@pytest.mark.parametrize(("tokens", "value"), [(1000.0, 80), (100.0, 128)])
def test_waiting_beside_an_empty_cache_asks_for_more_places_at_most_twice(tokens: float, value: int) -> None:
    run = replace(CALM, running_most=64.0, waiting_most=9.0, tokens_a_request=tokens)
    assert of("max_num_seqs", run).value == value
    assert "9 waited" in of("max_num_seqs", run).evidence


def test_waiting_before_a_full_cache_is_no_matter_of_places() -> None:
    run = replace(CALM, running_most=40.0, waiting_most=9.0, kv_most=0.99, tokens_a_request=2000.0)
    found = of("max_num_seqs", run)
    assert found.value is None
    assert "another replica" in found.evidence


def test_more_places_are_not_asked_for_where_the_cache_is_nearly_full() -> None:
    run = replace(CALM, running_most=64.0, waiting_most=9.0, kv_most=0.85, tokens_a_request=900.0)
    assert of("max_num_seqs", run).value is None


def test_uneven_pauses_ask_for_smaller_steps_and_long_queues_for_larger_ones() -> None:
    stalls = replace(CALM, itl_p99_ms=120.0, steps_up_to={64.0: 0.5, 1024.0: 0.9, 2048.0: 1.0})
    assert of("batched_tokens", stalls).value == 1024
    queues = replace(CALM, queue_ms=60.0, steps_up_to={64.0: 0.3, 1024.0: 0.6, 2048.0: 1.0})
    assert of("batched_tokens", queues).value == 4096
    assert of("batched_tokens", replace(queues, queue_ms=0.0)).value is None
    small = replace(PLANNED, max_num_batched_tokens=512)
    assert of("batched_tokens", stalls, planned=small).value is None  # no smaller than that


def test_limits_are_those_of_the_greatest_load_that_kept_the_slos() -> None:
    low, high, over = (
        replace(CALM, id="a", requests_per_s=4.0, in_flight=20.0, good_share=1.0),
        replace(CALM, id="b", requests_per_s=8.0, in_flight=50.0, tokens_per_s=8000.0, good_share=0.96),
        replace(CALM, id="c", requests_per_s=9.0, in_flight=190.0, good_share=0.5),
    )
    found = of("in_flight", low, high, over)
    assert (found.now, found.value) == (120, 60)
    assert "96.0% kept the SLOs, at the greatest load that did; 20% more is room enough" in found.evidence
    assert of("requests_per_second", low, high, over).value == 9.6
    assert of("tokens_per_minute", low, high, over).value == 580_000
    nobody = suggestions(PLANNED, [over])[-1]
    assert (nobody.setting, nobody.value) == ("gateway.limits", None)


def test_no_limit_is_lowered_for_a_load_that_was_only_small_but_one_that_is_in_the_way_is_raised() -> None:
    small = replace(CALM, good_share=1.0)
    found = of("in_flight", small)
    assert found.value is None
    assert "no heavier load was measured" in found.evidence
    assert of("in_flight", small, planned=replace(PLANNED, in_flight=10)).value == 24
    assert of("in_flight", small, planned=replace(PLANNED, in_flight=23)).value is None  # near enough
    assert of("tokens_per_minute", small).value is None


def test_without_slos_no_limit_is_spoken_for() -> None:
    found = suggestions(PLANNED, [CALM])[-1]
    assert (found.setting, found.value) == ("gateway.limits", None)
    assert "no run had SLOs" in found.evidence


def test_a_run_that_saw_no_engine_suggests_nothing_of_it() -> None:
    blind = replace(CALM, running_most=None, kv_tokens=None)
    assert not any(one.setting.startswith("models.") for one in suggestions(PLANNED, [blind]))
    assert table(PLANNED, blind)[0].measured is None
    assert fits(PLANNED, blind) == 80


def result(**server: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "figures": {
            "ok": 100,
            "tokens_in": 60_000,
            "tokens_out": 40_000,
            "requests_per_s": 2.0,
            "tokens_in_per_s": 1200.0,
            "tokens_out_per_s": 800.0,
            "in_flight": 8.0,
            "good_share": None,
            "latencies_ms": {"itl": {"p50": 20.0, "p99": 30.0}},
        },
        "server": server or None,
    }


def test_figures_of_several_engines_are_told_of_each() -> None:
    told = {
        "engines": 2.0,
        "kv_blocks": 10_000.0,
        "kv_block_size": 16.0,
        "kv_use": {"mean": 0.2, "most": 0.4},
        "running": {"mean": 10.0, "most": 24.0},
        "waiting": {"mean": 0.0, "most": 2.0},
        "preemptions": 0.0,
        "steps": {"count": 200.0, "mean_tokens": 90.0, "up_to": {"64.0": 100.0, "1024.0": 190.0}},
    }
    one = seen(result(**told), 2)
    assert (one.kv_tokens, one.running_most, one.waiting_most, one.kv_most) == (80_000, 12, 1, 0.4)
    assert one.tokens_a_request == 1000
    assert one.filled(2048) == pytest.approx(0.05)
    assert one.filled(64) is None  # no bound is that low


def test_an_invalid_run_says_nothing_and_a_run_alone_says_what_the_client_saw() -> None:
    with pytest.raises(ValueError, match="does not measure the server"):
        seen({"id": "x", "figures": None}, 1)
    alone = seen(result(), 1)
    assert not alone.looked
    assert {row.what: row.measured for row in table(PLANNED, alone)}["tokens a minute"] == 120_000
