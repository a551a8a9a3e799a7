"""How the limits of a call stand, as a reply's head tells it. Pure; on the way of each call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gateway.policy import headers
from gateway.policy.holder import Plan
from gateway.policy.share import Share
from gateway.policy.window import window

SLACK: Final = 1e-6
"""Levels are sums of floats: 18.9999999 is 19."""


def lines(plan: Plan, lefts: Sequence[float], clock_s: float | None) -> bytes:
    """The tightest request rate, and the tightest window of tokens. `lefts`: of `plan`, now.

    `clock_s`: the store's; None: not heard yet.
    """
    first = plan.tightest(plan.requests_at, lefts)
    second = plan.tightest(plan.tokens_at, lefts)
    template = plan.templates.get((first, second))
    if template is None:
        limits = (None if one is None else plan.limits[one] for one in (first, second))
        template = plan.templates[first, second] = headers.template(*limits)
    numbers: list[int] = []
    for at in (first, second):
        if at is not None:
            left = int(lefts[at] + SLACK)
            numbers.append(left if 0 <= left <= headers.SHOWN_MAX else headers.left(left))
            numbers.append(_whole_s(plan, at, lefts[at], clock_s))
    return template % (*numbers, *numbers)


def _whole_s(plan: Plan, at: int, left: float, clock_s: float | None) -> int:
    """Seconds, rounded up, until all of a limit is there. `at`: its place in the plan."""
    if at < len(plan.shares):
        return math.ceil(reset_s(plan.shares[at], clock_s))
    limit = plan.limits[at]  # of a bucket
    return math.ceil((limit.amount - left) / limit.per_s)


def reset_s(share: Share, clock_s: float | None) -> float:
    """Until all of it is there again."""
    limit = share.limit
    if limit.measure.kind == "rate":
        return (limit.amount - min(limit.amount, share.free + share.left)) / limit.per_s
    if limit.measure.span is None or clock_s is None:
        return 0.0
    return max(0.0, (share.end_s or window(limit.measure.span, clock_s).end_s) - clock_s)
