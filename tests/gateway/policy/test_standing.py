"""What a reply's head says of limits: the tightest rate, the tightest window of tokens."""

from __future__ import annotations

import pytest

from gateway.policy import standing
from gateway.policy.bucket import Bucket
from gateway.policy.holder import Plan
from gateway.policy.limits import Limit, tenant_scope
from gateway.policy.share import Share

NOON = 1_795_780_800.0
"""2026-11-27, by the store's clock."""
T = tenant_scope("t")


def share(code: str, amount: int, free: int, *, left: int = 0, per_s: float = 0.0, end_s: int = 0) -> Share:
    made = Share(Limit(code, T, amount, per_s), "p")
    made.free, made.left, made.end_s = free, left, end_s
    return made


def bucket(code: str, amount: int, per_s: float, taken: int) -> tuple[Limit, Bucket]:
    made = Bucket(amount, per_s)
    made.take(taken, 1.0)
    return Limit(code, T, amount, per_s), made


def told(plan: Plan, clock_s: float | None = NOON) -> list[str]:
    return standing.lines(plan, plan.lefts(1.0), clock_s).decode().splitlines()


def test_of_several_windows_the_one_with_the_smallest_part_left_is_told():
    day = share("tokens_per_day", 1000, 600, left=100)
    month = share("tokens_per_month", 100_000, 80_000)
    rate, minute = (
        bucket("requests_per_second", 20, 10.0, 1),
        bucket("tokens_per_minute", 60_000, 1000.0, 300),
    )
    lines = told(Plan((day, month), (rate, minute), 0))
    assert "x-ratelimit-remaining-tokens: 700" in lines
    assert "x-ratelimit-reset-tokens: 43200s" in lines, "the day ends at midnight"
    assert "x-ratelimit-remaining-requests: 19" in lines
    assert "x-ratelimit-reset-requests: 1s" in lines


@pytest.mark.parametrize(
    ("only", "lines"),
    [
        (share("tokens_per_day", 1000, 0, end_s=int(NOON) + 60), ("tokens: 0", "tokens: 60s")),
        (share("tokens_per_minute", 60, 20, left=10, per_s=2.0), ("tokens: 30", "tokens: 15s")),
        (share("requests_per_second", 9, 3, per_s=2.0), ("requests: 3", "requests: 3s")),
        (share("tokens_per_month", 1000, -5), ("tokens: 0", "tokens: 302400s")),
    ],
)
def test_of_a_lease_both_what_is_held_and_what_the_store_has_are_left(only: Share, lines: tuple[str, str]):
    found = told(Plan((only,), (), 0))
    left, reset = lines
    assert f"x-ratelimit-remaining-{left}" in found
    assert f"x-ratelimit-reset-{reset}" in found


def test_before_the_stores_clock_is_heard_no_end_is_told():
    assert "x-ratelimit-reset-tokens: 0s" in told(Plan((share("tokens_per_day", 9, 1),), (), 0), None)


def test_without_such_limits_nothing_is_said():
    assert told(Plan((share("in_flight", 9, 1), share("requests_per_day", 9, 1)), (), 0)) == []


def test_while_time_goes_and_limits_take_turns_each_reply_tells_its_own_moment():
    """What is filled in ahead of a reply must never be an earlier one's."""
    day, month = share("tokens_per_day", 1000, 600), share("tokens_per_month", 100_000, 80_000)
    plan = Plan((day, month), (bucket("requests_per_second", 20, 10.0, 15),), 0)
    for clock_s, free, left, reset in (
        (NOON, 600, 600, 43_200),
        (NOON + 0.5, 599, 599, 43_200),
        (NOON + 1.0, 599, 599, 43_199),
        (NOON + 2.0, 900, 80_000, 302_398),
        (NOON + 3.0, 1, 1, 43_197),
        (NOON, 1, 1, 43_200),
    ):
        day.free = free
        fresh = Plan((day, month), plan.buckets, 0)
        assert told(plan, clock_s) == told(fresh, clock_s)
        assert f"x-ratelimit-remaining-tokens: {left}" in told(plan, clock_s)
        assert f"x-ratelimit-reset-tokens: {reset}s" in told(plan, clock_s)
