"""The knee, and the greatest load that keeps the SLOs."""

from __future__ import annotations

import pytest

from infctl.bench.sweep import Step, greatest, knee, wilson


def steps(*per_s: float, good: tuple[int | None, ...] = (), invalid: tuple[int, ...] = ()) -> list[Step]:
    """At 1, 2, 4, 8 ... at once, of a hundred requests each."""
    kept = good or (None,) * len(per_s)
    return [Step(2.0**n, rate, 100, kept[n], n not in invalid) for n, rate in enumerate(per_s)]


def test_the_knee_is_the_last_load_that_was_worth_doubling() -> None:
    found = knee(steps(1.0, 2.0, 3.8, 4.5, 4.6))
    assert found is not None
    assert found.load == 4


def test_without_a_bend_there_is_no_knee_and_invalid_runs_decide_nothing() -> None:
    assert knee(steps(1.0, 2.0, 4.0)) is None
    assert knee(steps(1.0)) is None
    assert knee(steps(1.0, 0.1, 4.0, invalid=(1,))) is None


@pytest.mark.parametrize(
    ("good", "load"),
    [((100, 98, 95, 60), 4), ((100, 90, 99, 60), 1), ((10, 10, 10, 10), None), ((None,) * 4, None)],
)
def test_the_greatest_load_keeps_the_slos_and_so_does_each_smaller(
    good: tuple[int | None, ...], load: float | None
) -> None:
    found = greatest(steps(1, 2, 3, 4, good=good))
    assert (None if found is None else found.load) == load


def test_a_share_has_wilsons_interval() -> None:
    low, high = wilson(95, 100)
    assert (round(low, 4), round(high, 4)) == (0.8882, 0.9785)
    assert wilson(100, 100)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
