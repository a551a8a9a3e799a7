"""UTC days and months against the calendar."""

from __future__ import annotations

import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.window import CLOCK_MAX_S, Guard, window


def at(*when: int) -> int:
    return calendar.timegm((*when, 0, 0, 0)[:9])


def test_a_day_is_the_utc_day():
    found = window("day", at(2026, 11, 27, 23, 59, 59) + 0.9)
    assert found.period == "2026-11-27"
    assert found.end_s == at(2026, 11, 28, 0, 0, 0)
    assert window("day", float(found.end_s)).period == "2026-11-28"


def test_a_month_is_as_long_as_it_is():
    assert window("month", at(2028, 2, 29, 12, 0, 0)).end_s == at(2028, 3, 1, 0, 0, 0)
    assert window("month", at(2026, 12, 31, 23, 0, 0)).end_s == at(2027, 1, 1, 0, 0, 0)


@given(st.sampled_from(["day", "month"]), st.floats(0, CLOCK_MAX_S, exclude_max=True))
def test_windows_cover_time_without_gap_or_overlap(span: str, clock_s: float):
    found = window(span, clock_s)
    assert clock_s in found
    assert window(span, float(found.start_s)) == found
    if found.end_s < CLOCK_MAX_S:
        assert window(span, float(found.end_s)).start_s == found.end_s


@pytest.mark.parametrize("clock_s", [-1.0, float("nan"), float("inf"), 1e300])
def test_a_clock_that_says_nonsense_is_refused(clock_s: float):
    with pytest.raises(ValueError, match="no time between"):
        window("day", clock_s)


def test_time_as_it_was_seen_never_goes_back():
    guard = Guard(100.0)
    assert [guard.read(clock) for clock in (90.0, 110.0, 20.0, float("nan"), float("inf"), 111.0)] == [
        100.0, 110.0, 110.0, 110.0, 110.0, 111.0,
    ]  # fmt: skip
