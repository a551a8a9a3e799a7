"""What may be limited, and the limits that one request meets. Values only.

    kind    what it counts                        comes back                a dead worker's share
    rate    a bucket that fills while time goes   by itself                 comes free
    slots   requests under way                    when they end             comes free
    quota   all that was used in a day, a month   never: a window opens     is used till it closes

A scope says whose it is: a tenant, a key, or one model of a tenant. A counter is a measure in a scope; its
name is the same in every worker and in the store.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal["rate", "slots", "quota"]
Unit = Literal["requests", "tokens"]
Span = Literal["day", "month"]
Code = Literal[
    "requests_per_second",
    "tokens_per_minute",
    "in_flight",
    "requests_per_day",
    "tokens_per_day",
    "requests_per_month",
    "tokens_per_month",
]
"""The error's code in a refusal (gateway contract), and the setting's name."""


class Measure(msgspec.Struct, frozen=True):
    code: Code
    kind: Kind
    unit: Unit
    span: Span | None = None
    """Of a quota."""
    label: str = ""
    """In `RateLimit` headers."""


MEASURES: Final[dict[Code, Measure]] = {
    measure.code: measure
    for measure in (
        Measure("requests_per_second", "rate", "requests", label="requests-second"),
        Measure("tokens_per_minute", "rate", "tokens", label="tokens-minute"),
        Measure("in_flight", "slots", "requests", label="in-flight"),
        Measure("requests_per_day", "quota", "requests", "day", "requests-day"),
        Measure("tokens_per_day", "quota", "tokens", "day", "tokens-day"),
        Measure("requests_per_month", "quota", "requests", "month", "requests-month"),
        Measure("tokens_per_month", "quota", "tokens", "month", "tokens-month"),
    )
}


class Limit(msgspec.Struct, frozen=True):
    """One number that one counter must not pass."""

    code: Code
    scope: str
    """As `tenant_scope`, `key_scope`, `model_scope` write it."""
    amount: int
    """rate: how much at once after a pause; slots: at once; quota: in one window."""
    per_s: float = 0.0
    """rate: how much comes back in a second."""
    owner: str = ""
    """For people: whose it is."""

    @property
    def counter(self) -> str:
        return f"{self.code}|{self.scope}"

    @property
    def measure(self) -> Measure:
        return MEASURES[self.code]


def tenant_scope(tenant: str) -> str:
    return f"tenant:{tenant}"


def key_scope(key_id: str) -> str:
    return f"key:{key_id}"


def model_scope(tenant: str, model: str) -> str:
    """The length keeps ("a:b", "c") and ("a", "b:c") apart."""
    return f"model:{len(tenant)}:{tenant}:{model}"
