"""The greatest rate that keeps the SLOs, in virtual time: the machine's rules, and a queue that is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infctl.bench import search
from infctl.bench.figures import by_count
from infctl.bench.search import Asked, Found, Trial, Try, backlog, following, interval, trial
from tests.examples import examples
from tests.infctl.bench import queueing
from tests.infctl.bench.virtual import config


def one(rate: float, good: int = 100, **more: bool) -> Trial:
    return Trial(rate, (True,) * good + (False,) * (100 - good), **more)


def searched(ask: Callable[[float, int], Trial], asked: Asked) -> tuple[Found, list[Trial]]:
    trials: list[Trial] = []
    while isinstance(step := following(trials, asked), Try):
        trials.append(ask(step.rate, len(trials)))
    return step, trials


def test_it_doubles_then_halves_the_gap_then_looks_again_at_both_edges() -> None:
    found, trials = searched(lambda rate, _: one(rate, 100 if rate <= 11 else 0), Asked(1, repeats=2))
    assert [t.rate for t in trials] == [1, 2, 4, 8, 16, 11.31, 9.512, 10.37, 10.37, 11.31]
    assert (found.rate, found.why) == (10.37, "edge")


def test_the_first_rate_may_be_too_great_and_then_it_is_halved() -> None:
    found, trials = searched(lambda rate, _: one(rate, 100 if rate < 1 else 3), Asked(8, repeats=1))
    assert [t.rate for t in trials[:5]] == [8, 4, 2, 1, 0.5]
    assert found.rate is not None
    assert 0.9 < found.rate < 1


def test_it_says_that_no_rate_keeps_them() -> None:
    found, trials = searched(lambda rate, _: one(rate, 0), Asked(1))
    assert (found.rate, found.why, len(trials)) == (None, "none", search.HALVINGS + 1)


def test_it_stops_at_the_most_it_may_ask_for() -> None:
    found, trials = searched(lambda rate, _: one(rate), Asked(1, most=5))
    assert [t.rate for t in trials] == [1, 2, 4, 5]
    assert found == Found(5, 5, None, "most")


def test_an_edge_is_judged_by_all_its_trials_and_turns_with_them() -> None:
    """The first look at 8 is a bad one: it is bad luck, and 8 is kept."""

    def ask(rate: float, number: int) -> Trial:
        return one(rate, 94 if number == 3 else 100 if rate <= 9 else 0)

    found, trials = searched(ask, Asked(1, repeats=3))
    assert (trials[3].rate, trials[3].good) == (8, 94)
    assert found.rate is not None
    assert 8 < found.rate <= 9


def test_where_the_client_is_the_limit_nothing_is_said_of_what_lies_beyond() -> None:
    found, trials = searched(lambda rate, _: one(rate, valid=rate < 8), Asked(1))
    assert [t.rate for t in trials] == [1, 2, 4, 8, 8, 8]
    assert found == Found(4, 4, None, "client")
    nothing, trials = searched(lambda rate, _: one(rate, valid=False), Asked(1))
    assert (nothing, len(trials)) == (Found(None, None, None, "client"), search.ATTEMPTS)


def test_a_run_that_is_invalid_once_is_taken_again() -> None:
    found, trials = searched(lambda rate, number: one(rate, valid=number != 2), Asked(1, most=8))
    assert [t.rate for t in trials] == [1, 2, 4, 4, 8]
    assert found.why == "most"
    always, trials = searched(
        lambda rate, number: one(rate, 100 if rate < 3 else 0, valid=number % 2 == 0), Asked(1)
    )
    assert always.why == "edge"
    assert always.rate is not None
    assert 2.5 < always.rate < 3


@given(edge=st.floats(0.01, 1000), first=st.floats(0.05, 100), precision=st.floats(0.02, 0.5))
@settings(max_examples=examples(50), deadline=None)
def test_any_edge_is_found_to_the_precision_within_the_trials(
    edge: float, first: float, precision: float
) -> None:
    asked = Asked(first, precision=precision, repeats=2, trials=60)
    found, _ = searched(lambda rate, _: one(rate, 100 if rate <= edge else 0), asked)
    assume(edge >= first / 2 ** (search.HALVINGS - 1))
    assert found.rate is not None
    assert found.why == "edge"
    assert found.rate <= edge <= found.rate * (1 + precision) * 1.001
    assert found.low is not None
    assert found.high is not None
    assert found.low <= edge <= found.high


def test_a_share_is_read_between_two_rates_and_no_narrower_than_they_are_apart() -> None:
    sharp = [one(10), one(11, 0)]
    assert interval(sharp, 10, 11) == (10, 11)
    blurred = [one(8), one(10, 96), one(10, 95), one(11, 94), one(11, 93), one(14, 20)]
    low, high = interval(blurred, 10, 11)
    assert 7 < low < 10
    assert 11 < high < 14


def mm1(service_s: float, slo_s: float, requests: int, seed: int) -> Callable[[float, int], Trial]:
    def ask(rate: float, number: int) -> Trial:
        given_ = config(
            rate=rate, arrivals="poisson", concurrency=None, requests=requests, slo_ms={"e2e": slo_s * 1e3}
        )
        log = queueing.log(rate, seed * 1000 + number, requests=requests, service_s=service_s)
        return trial(given_, log, by_count(log, queueing.WARM, None), valid=True)

    return ask


def test_of_a_queue_whose_answer_is_known_the_interval_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """M/M/1: 100 a second at most, 95 % within 100 ms up to 70 a second."""
    monkeypatch.setattr(search, "RESAMPLES", 200)
    truth = queueing.greatest(0.01, 0.1)
    assert round(truth, 1) == 70.0
    held, off = 0, []
    for seed in range(20):
        found, trials = searched(mm1(0.01, 0.1, 400, seed), Asked(10))
        assert found.rate is not None
        assert found.low is not None
        assert found.high is not None
        assert len(trials) <= 30
        held += found.low <= truth <= found.high
        off.append(abs(math.log(found.rate / truth)))
    assert held >= 17  # of 100 it is 91, with 1,000 resamples: proof_search.py
    assert sum(off) / len(off) < 0.12


def test_a_rate_beyond_the_capacity_falls_behind_and_one_below_does_not() -> None:
    """Ten places of 0.1 s: 100 a second. A loose SLO alone would keep 120 a second for a while."""
    for rate, behind in ((60, False), (90, False), (120, True), (200, True)):
        log = queueing.log(rate, 7, requests=600, service_s=0.1, servers=10, constant=True)
        found = trial(
            config(rate=float(rate), requests=600, slo_ms={"e2e": 60_000}),
            log,
            by_count(log, queueing.WARM, None),
            valid=True,
        )
        assert (found.behind, found.good) == (behind, 0 if behind else 600), rate


def test_what_is_under_way_grows_for_as_long_as_a_rate_is_too_great() -> None:
    log = queueing.log(200, 3, requests=1000, service_s=0.01, constant=True)
    grew, mean = backlog(log[queueing.WARM :], log)
    assert 400 < grew < 600
    assert 0.4 * grew < mean < 0.7 * grew
    assert backlog(log[:1], log) == (0, 0.0)
