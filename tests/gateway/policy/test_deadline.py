"""What a client's own time is, and what it leaves for a wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.deadline import asked_s, place_s


@pytest.mark.parametrize(("text", "seconds"), [(b"30", 30.0), (b" 0.5 ", 0.5), (b"1e3", 1000.0)])
def test_seconds_are_a_positive_number(text, seconds):
    assert asked_s(text) == seconds


@pytest.mark.parametrize("text", [b"", b"soon", b"0", b"-1", b"nan", b"inf", b"1e999", b"\xff", b"5s"])
def test_anything_else_is_none(text):
    assert asked_s(text) is None


@given(st.floats(0, 100), st.floats(0, 200), st.floats(-100, 100))
def test_no_wait_for_a_place_outlasts_the_queues_time_or_the_requests(timeout_s, waited_s, left_s):
    limit_s = place_s(timeout_s, waited_s, left_s)
    assert 0 <= limit_s <= max(0.0, timeout_s)
    assert limit_s <= max(0.0, left_s)
    assert limit_s == 0 or waited_s + limit_s <= timeout_s + 1e-9
