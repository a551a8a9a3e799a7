"""Limits in a reply's head: `x-ratelimit-*` as OpenAI writes them, `RateLimit` and `RateLimit-Policy` as the
IETF's draft does (httpapi-ratelimit-headers-10: structured lists; q the quota, w its window, r left, t until
it is back, in seconds).

`-requests` speak of the request-rate bucket, `-tokens` of the tightest token window, both as this worker
knows them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.policy.limits import Limit
from gateway.policy.refusing import Refused

_SPAN_S: Final = {"day": 86_400, "month": 2_592_000}
SHOWN_MAX: Final = 999_999_999_999_999
"""The largest integer of a structured field."""


class Standing(msgspec.Struct, frozen=True):
    """How one limit stands."""

    limit: Limit
    left: int
    reset_s: float
    """Until all of it is there again."""


def lines(requests: Standing | None, tokens: Standing | None) -> bytes:
    """Header lines, each with its end. Of `tightest`, where there are several."""
    numbers: list[int] = []
    for one in (requests, tokens):
        if one is not None:
            numbers += left(one.left), math.ceil(one.reset_s)
    limits = (None if one is None else one.limit for one in (requests, tokens))
    return template(*limits) % (*numbers, *numbers)


def template(requests: Limit | None, tokens: Limit | None) -> bytes:
    """The same with %d where numbers go: left and seconds, of each limit that is there, and all again.

    Made once for a pair of limits: to fill it in costs a microsecond.
    """
    openai, now, policy = "", [], []
    for unit, limit in (("requests", requests), ("tokens", tokens)):
        if limit is not None:
            openai += f"x-ratelimit-limit-{unit}: {limit.amount}\r\n"
            openai += f"x-ratelimit-remaining-{unit}: %d\r\nx-ratelimit-reset-{unit}: %ds\r\n"
            now.append(f'"{limit.measure.label}";r=%d;t=%d')
            policy.append(_policy(limit))
    if not now:
        return b""
    return f"{openai}ratelimit: {', '.join(now)}\r\nratelimit-policy: {', '.join(policy)}\r\n".encode()


def refusal_lines(refused: Refused, reset_s: float) -> bytes:
    """Of a refusal: the one limit that was reached."""
    lines = b""
    if refused.why != "store":
        limit = refused.limit
        now = f'"{limit.measure.label}";r={left(refused.left)};t={math.ceil(reset_s)}'
        lines = f"ratelimit: {now}\r\nratelimit-policy: {_policy(limit)}\r\n".encode()
    if refused.retry_after is not None:
        lines += b"retry-after: %d\r\n" % refused.retry_after
    return lines


def tightest(standings: Sequence[Standing]) -> Standing | None:
    """The one with the smallest share left."""
    return min(standings, key=lambda one: one.left / one.limit.amount, default=None)


def _policy(limit: Limit) -> str:
    measure = limit.measure
    text = f'"{measure.label}";q={limit.amount}'
    if measure.kind == "rate":
        text += f";w={max(1, math.ceil(limit.amount / limit.per_s - 1e-9))}"
    elif measure.span is not None:
        text += f";w={_SPAN_S[measure.span]}"
    return text


def left(amount: int) -> int:
    return min(max(0, amount), SHOWN_MAX)
