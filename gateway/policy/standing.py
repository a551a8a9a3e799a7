"""How the limits of a call stand, as a reply's head tells it. Pure; on the way of each call."""

from __future__ import annotations

from typing import Final

from gateway.policy import headers
from gateway.policy.holder import Plan
from gateway.policy.share import Share
from gateway.policy.window import window

SLACK: Final = 1e-6
"""Levels are sums of floats: 18.9999999 is 19."""


def lines(plan: Plan, lefts: list[float], clock_s: float | None) -> bytes:
    """The tightest request rate, and the tightest window of tokens. `lefts`: of `plan`, now.

    `clock_s`: the store's; None: not heard yet.
    """
    first = plan.tightest(plan.requests_at, lefts)
    second = plan.tightest(plan.tokens_at, lefts)
    if plan.told != (first, second):
        limits = (None if one < 0 else plan.limits[one] for one in (first, second))
        plan.blank = headers.template(*limits)
        plan.told, plan.waits = (first, second), (-1, -1)
    first_s = 0 if first < 0 else _whole_s(plan, first, lefts[first], clock_s)
    second_s = 0 if second < 0 else _whole_s(plan, second, lefts[second], clock_s)
    if plan.waits != (first_s, second_s):  # seldom: a day's and a month's once a second
        seconds = [wait for at, wait in ((first, first_s), (second, second_s)) if at >= 0]
        plan.template = plan.blank % (*seconds, *seconds)
        plan.waits = first_s, second_s
    if first >= 0 and second >= 0:
        requests, tokens = _left(lefts[first]), _left(lefts[second])
        return plan.template % (requests, tokens, requests, tokens)
    if first < 0 and second < 0:
        return b""
    left = _left(lefts[max(first, second)])
    return plan.template % (left, left)


def _left(level: float) -> int:
    left = int(level + SLACK)
    return left if 0 <= left <= headers.SHOWN_MAX else headers.left(left)


def _whole_s(plan: Plan, at: int, left: float, clock_s: float | None) -> int:
    """Seconds, rounded up, until all of a limit is there. `at`: its place in the plan."""
    per_s = plan.per_s[at]
    if per_s > 0.0:
        wait_s = (plan.amounts[at] - left) / per_s
    else:
        share = plan.shares[at]  # buckets have rates
        wait_s = share.end_s - clock_s if share.end_s and clock_s is not None else reset_s(share, clock_s)
    if wait_s <= 0.0:
        return 0
    whole_s = int(wait_s)
    return whole_s if whole_s == wait_s else whole_s + 1  # `math.ceil`, without the call


def reset_s(share: Share, clock_s: float | None) -> float:
    """Until all of it is there again."""
    limit = share.limit
    if limit.measure.kind == "rate":
        return (limit.amount - min(limit.amount, share.free + share.left)) / limit.per_s
    if limit.measure.span is None or clock_s is None:
        return 0.0
    return max(0.0, (share.end_s or window(limit.measure.span, clock_s).end_s) - clock_s)
