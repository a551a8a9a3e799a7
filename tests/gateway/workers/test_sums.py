"""The numbers of several workers, added."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import metrics
from gateway.metrics import METRICS, Metrics, Snapshot
from gateway.workers import sums
from tests.examples import examples

Happened = tuple[str, str, float]
happenings = st.lists(
    st.tuples(st.sampled_from(("count", "observe")), st.sampled_from("abc"), st.integers(0, 50).map(float))
)


def numbers(happened: list[Happened]) -> Metrics:
    found = Metrics()
    for kind, model, value in happened:
        if kind == "count":
            found.count(metrics.BYTES_OUT, (model,), by=value)
        else:
            found.observe(metrics.DURATION, (model,), value)
    return found


def plain(snapshot: Snapshot) -> dict[str, object]:
    return {metric.name: series for metric, series in snapshot.items() if series}


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(happenings, min_size=1, max_size=4))
def test_the_sum_of_workers_is_what_one_process_would_have_counted(workers: list[list[Happened]]) -> None:
    together = sums.total(numbers(each).snapshot() for each in workers)
    alone = numbers([one for each in workers for one in each]).snapshot()
    assert plain(together) == plain(alone)


@settings(max_examples=examples(200), deadline=None)
@given(happenings)
def test_a_snapshot_is_the_same_behind_the_channel(happened: list[Happened]) -> None:
    snapshot = numbers(happened).snapshot()
    told = json.loads(json.dumps(sums.to_wire(snapshot)))
    assert plain(sums.from_wire(told)) == plain(snapshot)


@settings(max_examples=examples(200), deadline=None)
@given(happenings, happenings, happenings)
def test_no_total_goes_back_when_a_worker_is_followed_by_another(
    first: list[Happened], second: list[Happened], other: list[Happened]
) -> None:
    before = sums.total([numbers(first).snapshot(), numbers(other).snapshot()])
    left = sums.total([sums.counted(numbers(first).snapshot())])
    for follower in ([], second):
        after = sums.total([left, numbers(follower).snapshot(), numbers(other).snapshot()])
        for metric, series in before.items():
            for labels, values in series.items():
                assert all(now >= then for now, then in zip(after[metric][labels], values, strict=True))


def test_gauges_are_added_or_the_oldest_or_the_worst_as_their_metric_says() -> None:
    where = ("chat", "chat0")

    def worker(in_flight: float, started: float, state: str) -> Snapshot:
        return {
            metrics.IN_FLIGHT: {where: (in_flight,)},
            metrics.STARTED: {(): (started,)},
            metrics.BUILD: {("1",): (1,)},
            metrics.BACKEND_STATE: {
                (*where, each): (float(each == state),) for each in metrics.BACKEND_STATE.worst_first
            },
        }

    found = sums.total([worker(2, 100.0, "ready"), worker(3, 99.0, "down"), worker(0, 101.0, "loading")])
    assert found[metrics.IN_FLIGHT] == {where: (5,)}
    assert found[metrics.STARTED] == {(): (99.0,)}
    assert found[metrics.BUILD] == {("1",): (1,)}
    assert {labels[-1] for labels, value in found[metrics.BACKEND_STATE].items() if value[0]} == {"down"}


def test_gauges_of_one_of_several_states_say_which_is_worst() -> None:
    for metric in METRICS:
        assert (metric.together == "worst") == bool(metric.worst_first), metric.name
        if metric.labels[-1:] == ("state",) and metric.kind == "gauge":
            assert metric.together == "worst", metric.name
        if metric.kind == "gauge" and metric.help.startswith(("1 ", "Always 1")):
            assert metric.together != "sum", metric.name
