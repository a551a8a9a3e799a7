"""Limits in a reply's head: `x-ratelimit-*` as OpenAI writes them, `RateLimit` and `RateLimit-Policy` as the
IETF's draft does (httpapi-ratelimit-headers-10: structured lists; q the quota, w its window, r left, t until
it is back, in seconds).

`-requests` speak of the request-rate bucket, `-tokens` of the tightest token window, both as this worker
knows them.
"""

from __future__ import annotations

import math
from typing import Final

from gateway.policy.limits import Limit
from gateway.policy.refusing import Refused

_SPAN_S: Final = {"day": 86_400, "month": 2_592_000}
SHOWN_MAX: Final = 999_999_999_999_999
"""The largest integer of a structured field."""


def template(requests: Limit | None, tokens: Limit | None) -> bytes:
    """Header lines with %d where seconds go, and behind that with %d where amounts do: of each limit that is
    given the whole seconds until all is there again, then what is left; and all of them once more.

    Made once for a pair of limits, filled in with seconds when those change: a reply is left the amounts.
    """
    openai, now, policy = "", [], []
    for unit, limit in (("requests", requests), ("tokens", tokens)):
        if limit is not None:
            openai += f"x-ratelimit-limit-{unit}: {limit.amount}\r\n"
            openai += f"x-ratelimit-remaining-{unit}: %%d\r\nx-ratelimit-reset-{unit}: %ds\r\n"
            now.append(f'"{limit.measure.label}";r=%%d;t=%d')
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
