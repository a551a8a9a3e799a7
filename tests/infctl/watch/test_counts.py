"""Pages brought down to sums, and sums to rates: by the gateway's own exposition, and by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import exposition, metrics
from gateway.metrics import Metrics
from infctl.monitoring import exposed
from infctl.watch.busiest import busiest
from infctl.watch.counts import BEGINS, GATEWAY, Calls, Counts, Engine, count, p95
from infctl.watch.past import ERRORS_S, RATE_S, Past
from tests.examples import examples

VLLM = """\
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:generation_tokens_total{engine="0",model_name="m"} 100.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 50.0
vllm:time_to_first_token_seconds_bucket{le="0.1",engine="0"} 1.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",engine="0"} 2.0
"""


def page(*requests: tuple[str, str, str, str, str, int], tokens: tuple[str, str, int] | None = None) -> str:
    """Of (tenant, model, backend, outcome, reason, how many)."""
    numbers = Metrics()
    for *labels, many in requests:
        numbers.count(metrics.REQUESTS, tuple(labels), many)
    if tokens is not None:
        numbers.count(metrics.TOKENS_OUT, tokens[:2], tokens[2])
        numbers.count(metrics.TOKENS_IN, tokens[:2], 2 * tokens[2])
    return exposition.render(numbers.snapshot(), "")[1].decode()


def read(text: str) -> exposed.Page:
    return exposed.read(text, BEGINS)


def test_calls_are_counted_by_backend_model_and_tenant() -> None:
    text = page(
        ("a", "chat", "b0", "ok", "", 5),
        ("a", "chat", "b1", "upstream_error", "", 2),
        ("b", "chat", "b1", "upstream_timeout", "deadline", 1),
        ("b", "embed", "", "refused", "tokens_per_day", 4),
        ("b", "embed", "", "refused", "no_healthy_backend", 3),
        tokens=("a", "chat", 70),
    )
    told = count({GATEWAY: read(text)}, at=1.0)
    assert told.backends == {"b0": Calls(5), "b1": Calls(3, faults=2)}
    assert told.models["embed"] == Calls(7, faults=3, refused=7)
    assert told.tenants["a"] == Calls(7, faults=2, tokens_in=140, tokens_out=70)
    assert told.refusals == {("b", "tokens_per_day"): 4, ("b", "no_healthy_backend"): 3}
    assert told.told


def test_an_engines_figures_are_those_of_all_its_engines() -> None:
    told = count({"chat0": read(VLLM)}, at=1.0)
    inf = {0.1: 1.0, math.inf: 2.0}
    assert told.engines == {"chat0": Engine(3, 2, 0.75, 100, 50, inf)}
    assert not told.told
    assert set(told.down) == {GATEWAY}


def test_a_page_that_is_not_there_is_down_with_the_reason() -> None:
    told = count({GATEWAY: "refused", "chat0": "no answer in time", "embed": read(VLLM)}, at=1.0)
    assert told.down == {GATEWAY: "refused", "chat0": "no answer in time"}
    assert set(told.engines) == {"embed"}


def test_what_is_read_begins_as_what_is_asked_for() -> None:
    whole = exposition.render(Metrics().snapshot(), "")[1].decode()
    kept = "\n".join(line for line in whole.split("\n") if line.startswith(BEGINS))
    assert count({GATEWAY: exposed.read(kept)}, 1.0) == count({GATEWAY: exposed.read(whole)}, 1.0)


def test_p95_is_of_what_came_in_between() -> None:
    before, now = {0.1: 10.0, 1.0: 10.0, math.inf: 10.0}, {0.1: 10.0, 1.0: 20.0, math.inf: 20.0}
    assert p95(before, now) == pytest.approx(0.1 + 0.9 * 0.95)
    assert p95(now, now) is None, "nothing came"
    assert p95(now, before) is None, "it began anew"


# The past


def at(seconds: float, requests: float | None, name: str = "a", tokens: float = 0.0) -> Counts:
    """None: the gateway was down."""
    if requests is None:
        return Counts(seconds, down={GATEWAY: "down"})
    return Counts(
        seconds,
        tenants={name: Calls(requests)},
        engines={"chat": Engine(tokens_out=tokens)},
        refusals={(name, "in_flight"): requests},
    )


def past(*moments: Counts) -> Past:
    found = Past()
    for moment in moments:
        found = found.with_now(moment)
    return found


def test_a_rate_is_over_the_last_seconds() -> None:
    known = past(at(0, 0), at(5, 100), at(12, 170))
    moved = known.calls(lambda one: one.tenants, "a", RATE_S)
    assert moved is not None
    assert moved.per_s(moved.calls.requests) == 10.0


def test_looks_that_are_further_apart_than_the_window_still_tell_a_rate() -> None:
    moved = past(at(0, 0), at(40, 100), at(60, 140)).calls(lambda one: one.tenants, "a", RATE_S)
    assert moved is not None
    assert (moved.seconds, moved.calls.requests) == (20, 40)


def test_one_look_alone_tells_no_rate() -> None:
    known = past(at(0, 50))
    assert known.calls(lambda one: one.tenants, "a", RATE_S) is None
    assert known.rate(lambda one: 1.0) is None


def test_somebody_new_counts_from_0() -> None:
    moved = past(at(0, 0), at(2, 8, "b")).calls(lambda one: one.tenants, "b", RATE_S)
    assert moved is not None
    assert moved.calls.requests == 8


def test_a_gateway_that_began_anew_tells_no_rate_until_it_did_twice() -> None:
    def seen(seconds: float, requests: float) -> Counts:
        told = {"a": Calls(requests)}
        return Counts(seconds, models=told, tenants=told)

    known = past(seen(0, 500), at(0.5, None), seen(1, 3))
    assert known.calls(lambda one: one.tenants, "a", RATE_S) is None
    moved = known.with_now(seen(2, 9)).calls(lambda one: one.tenants, "a", ERRORS_S)
    assert moved is not None
    assert (moved.calls.requests, moved.seconds) == (6, 1.0), "since it began, not since we look"


def test_a_moment_at_which_it_was_down_is_no_beginning() -> None:
    known = past(at(0, 10), at(1, None), at(2, 30))
    moved = known.calls(lambda one: one.tenants, "a", RATE_S)
    assert moved is not None
    assert (moved.calls.requests, moved.seconds) == (20, 2.0)
    assert past(at(0, 10), at(1, None)).calls(lambda one: one.tenants, "a", RATE_S) is None


def test_an_engines_rate_is_its_own() -> None:
    known = past(at(0, 0, tokens=10), at(2, 0, tokens=50))
    assert known.rate(lambda one: one.engines["chat"].tokens_out) == 20.0


def test_an_engine_that_began_anew_tells_its_rate_since_then() -> None:
    def tokens(one: Counts) -> float | None:
        return one.engines.get("chat", Engine()).tokens_out

    again = past(at(0, 0, tokens=50), at(2, 0, tokens=10))
    assert again.rate(tokens) is None
    assert again.with_now(at(4, 0, tokens=50)).rate(tokens) == 20.0


@settings(max_examples=examples(30))
@given(st.lists(st.floats(0.05, 40), min_size=1, max_size=600))
def test_the_past_is_bounded_and_holds_five_minutes(gaps: list[float]) -> None:
    known, now = Past(), 0.0
    for gap in gaps:
        now += gap
        known = known.with_now(Counts(now))
    times = [one.at for one in known.moments]
    assert times == sorted(set(times))
    assert now - times[0] <= ERRORS_S
    older = [one for one in times if now - one > RATE_S]
    assert len(older) <= 2 * ERRORS_S / 10 + 2
    if now > ERRORS_S and max(gaps) < 5:
        assert now - times[0] > ERRORS_S - 30, "and is not shorter than it says"


def test_an_hour_of_looks_takes_no_more_room_than_five_minutes() -> None:
    known = past(*(Counts(float(second)) for second in range(3600)))
    assert len(known.moments) < RATE_S + ERRORS_S / 10 + 5
    assert known.now.at - known.moments[0].at > ERRORS_S - 15


# Who is busiest


def two(second: dict[str, Calls]) -> Past:
    first = {name: Calls(100) for name in ("a", "b")}
    return past(Counts(0, tenants=first), Counts(2, tenants=second))


def test_the_busiest_come_first_by_what_is_asked() -> None:
    known = two(
        {
            "a": Calls(110, refused=0, tokens_out=900),
            "b": Calls(130, refused=5, tokens_out=30),
            "c": Calls(102, faults=1),
        }
    )
    assert [one.name for one in busiest(known, "tenant", "requests", 10).rows] == ["c", "b", "a"]
    assert [one.name for one in busiest(known, "tenant", "tokens", 10).rows] == ["a", "b", "c"]
    assert busiest(known, "tenant", "refused", 10).rows[0].name == "b"
    assert busiest(known, "tenant", "errors", 10).rows[0].name == "c"
    found = busiest(known, "tenant", "requests", 10)
    assert (found.seconds, found.per_s(found.rows[1].calls.requests)) == (2.0, 15.0)


def test_with_one_look_the_totals_give_the_order() -> None:
    found = busiest(past(Counts(0, tenants={"a": Calls(1), "b": Calls(9)})), "tenant", "requests", 10)
    assert ([one.name for one in found.rows], found.seconds) == (["b", "a"], 0.0)
    assert found.per_s(5) is None


def test_without_the_gateway_nobody_is_busy_and_the_reason_is_told() -> None:
    found = busiest(past(Counts(0, down={GATEWAY: "refused"})), "model", "requests", 10)
    assert (found.rows, found.down) == ((), "refused")
