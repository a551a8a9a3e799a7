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
    found = b""
    for unit, one in ((b"requests", requests), (b"tokens", tokens)):
        if one is not None:
            found += (
                b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %ds\r\n"
                % ((unit, one.limit.amount, unit, _left(one), unit, math.ceil(one.reset_s)))
            )
    shown = [one for one in (requests, tokens) if one is not None]
    return found + _ietf(shown) if shown else b""


def refusal_lines(refused: Refused, reset_s: float) -> bytes:
    """Of a refusal: the one limit that was reached."""
    lines = _ietf([Standing(refused.limit, max(0, refused.left), reset_s)]) if refused.why != "store" else b""
    if refused.retry_after is not None:
        lines += b"retry-after: %d\r\n" % refused.retry_after
    return lines


def tightest(standings: Sequence[Standing]) -> Standing | None:
    """The one with the smallest share left."""
    return min(standings, key=lambda one: one.left / one.limit.amount, default=None)


def _ietf(shown: list[Standing]) -> bytes:
    now = ", ".join(f'"{one.limit.measure.label}";r={_left(one)};t={math.ceil(one.reset_s)}' for one in shown)
    policy = ", ".join(_policy(one.limit) for one in shown)
    return f"ratelimit: {now}\r\nratelimit-policy: {policy}\r\n".encode()


def _policy(limit: Limit) -> str:
    measure = limit.measure
    text = f'"{measure.label}";q={limit.amount}'
    if measure.kind == "rate":
        text += f";w={max(1, math.ceil(limit.amount / limit.per_s - 1e-9))}"
    elif measure.span is not None:
        text += f";w={_SPAN_S[measure.span]}"
    return text


def _left(one: Standing) -> int:
    return min(max(0, one.left), SHOWN_MAX)
