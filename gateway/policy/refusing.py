"""What a client is told that has reached a limit: which, how much, and when it may come again. Pure.

Rule 1: `Retry-After` is true: of a quota the time to its window's end, of a rate until so much is there.
Rule 2: what no wait can help has no `Retry-After`; the message says what would.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from gateway.policy.limits import Code, Limit

Why = Literal["reached", "too_large", "store"]

STORE_RETRY_S: Final = 5
"""Until the store of counts is asked again, at the latest."""

_WINDOWS: Final = {"day": ("today (UTC)", "The day ends"), "month": ("this month (UTC)", "The month ends")}


class Refused(msgspec.Struct, frozen=True):
    """Nothing was taken from any limit."""

    limit: Limit
    why: Why
    needed: int
    """Of the limit's unit."""
    left: int
    """As this worker knows it."""
    retry_s: float | None
    """None: it is no use."""

    @property
    def status(self) -> int:
        return 503 if self.why == "store" else 429

    @property
    def code(self) -> Code | Literal["quota_unavailable"]:
        return "quota_unavailable" if self.why == "store" else self.limit.code

    @property
    def type(self) -> str:
        if self.why == "store":
            return "overloaded"
        return "quota_exceeded" if self.limit.measure.kind == "quota" else "rate_limit_exceeded"

    @property
    def retry_after(self) -> int | None:
        """Whole seconds: not before it is true."""
        return None if self.retry_s is None else max(1, math.ceil(self.retry_s - 1e-6))

    @property
    def message(self) -> str:
        return words(self)


def words(refused: Refused) -> str:
    limit, measure = refused.limit, refused.limit.measure
    who = limit.owner or limit.scope
    most, unit = f"{limit.amount:,}", measure.unit
    if refused.why == "store":
        return (
            f"The counts of {who}'s quota cannot be reached, and what this gateway held of it is used up."
            f" Send the request again in {STORE_RETRY_S} s; if it lasts, tell the operator."
        )
    if refused.why == "too_large":
        return (
            f"This request may need up to {refused.needed:,} tokens, and {who} may use {most} {_over(limit)}:"
            f" it cannot be served at any time. Ask for fewer with max_tokens, or send a shorter prompt."
        )
    if measure.kind == "slots":
        return f"{who} has {most} of {most} requests in flight. Send this one when another has been answered."
    if measure.kind == "rate":
        when = f"Try again in {duration(refused.retry_s or 0)}."
        if unit == "requests":
            return f"{who} may send {limit.per_s:g} requests a second, {most} at once. {when}"
        return (
            f"{who} may use {most} tokens a minute, and this request may need {refused.needed:,};"
            f" {refused.left:,} are left. {when}"
        )
    window, ends = _WINDOWS[measure.span or "day"]
    end = f"{ends} in {duration(refused.retry_s or 0)}."
    if refused.left <= 0 or unit == "requests":
        return f"{who} has used {most} of {most} {unit} {window}. {end}"
    return (
        f"{who} has {refused.left:,} of {most} tokens left {window}, and this request may need"
        f" {refused.needed:,}. Ask for fewer with max_tokens. {end}"
    )


def duration(seconds: float) -> str:
    """9 h 57 min, 3 min 20 s, 12 s, 0.4 s: never shorter than it is."""
    if seconds < 10:
        return f"{math.ceil(seconds * 10 - 1e-6) / 10:g} s"
    whole = math.ceil(seconds - 1e-6)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(math.ceil(whole / 60), 60)
    if hours >= 48:
        days, hours = divmod(hours + (minutes > 0), 24)
        return f"{days} d {hours} h" if hours else f"{days} d"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _over(limit: Limit) -> str:
    return {"tokens_per_minute": "a minute", "tokens_per_day": "a day", "tokens_per_month": "a month"}.get(
        limit.code, "at once"
    )
