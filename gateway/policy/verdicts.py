"""What becomes of a call that not all of its limits have room for: asked for at the store, or refused. Pure.

Nothing has been taken from any of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.policy.holder import Plan, Short
from gateway.policy.refusing import STORE_RETRY_S, Refused
from gateway.policy.share import Share
from gateway.policy.standing import reset_s

SLOT_RETRY_S: Final = 1.0


class Seen(msgspec.Struct, frozen=True):
    """The moment, as a worker knows it."""

    now: float
    clock_s: float | None
    """The store's; None: not heard yet."""
    down: bool
    """The store does not answer."""


def lacking(plan: Plan, tokens: int, seen: Seen) -> Refused | Short:
    """The one ladder from what is lacking to a verdict."""
    found: list[tuple[Share, int]] = []
    for shares, need in ((plan.ones, 1), (plan.sized, tokens)):
        for share in shares:
            if need > share.limit.amount:
                return Refused(share.limit, "too_large", need, share.limit.amount, None)
            if share.free < need:
                found.append((share, need))
    refused = _empty_bucket(plan, tokens, seen.now)
    if refused is not None:
        return refused
    for share, need in found:
        known = share.final_until > seen.now and share.free + share.left < need
        if share.local or known or seen.down:
            return _refusal(share, need, seen)
    return Short(tuple((share, need - share.free) for share, need in found))


def too_late(short: Short, tokens: int, seen: Seen) -> Refused:
    """The wait for the store is over. What it is known to lack is used up; else the store is to blame."""
    for share, _ in short.lacking:
        need = tokens if share.limit.measure.unit == "tokens" else 1
        if share.free + share.left < need and share.heard:
            return _refusal(share, need, seen)
    share, more = short.lacking[0]
    return Refused(share.limit, "store", share.free + more, share.free, float(STORE_RETRY_S))


def _refusal(share: Share, need: int, seen: Seen) -> Refused:
    limit, measure = share.limit, share.limit.measure
    if measure.kind == "quota" and seen.down:
        return Refused(limit, "store", need, share.free, float(STORE_RETRY_S))
    if measure.kind == "slots":
        return Refused(limit, "reached", need, 0, SLOT_RETRY_S)
    left = min(share.free + share.left, need - 1)
    if measure.kind == "rate":
        return Refused(limit, "reached", need, left, max(0.001, share.retry_at - seen.now))
    return Refused(limit, "reached", need, left, max(1.0, reset_s(share, seen.clock_s)))


def _empty_bucket(plan: Plan, tokens: int, now: float) -> Refused | None:
    for pairs, need in ((plan.buckets, 1), (plan.token_buckets, tokens)):
        for limit, bucket in pairs:
            if need > limit.amount:
                return Refused(limit, "too_large", need, limit.amount, None)
            if not bucket.fits(need, now):
                wait_s = bucket.wait_s(need, now)
                retry_s = limit.amount / limit.per_s if wait_s is None else wait_s
                return Refused(limit, "reached", need, int(bucket.level(now)), retry_s)
    return None
