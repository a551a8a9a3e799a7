"""A number nobody knows exactly: how low, how high, what is expected, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["computed", "measured", "fitted", "assumed"]
"""computed: follows from the model's config and vLLM's own rules. measured: read from an engine that started
here with these settings. fitted: a formula with a reason, its constants from measured starts elsewhere.
assumed: nothing better is known."""

MIB = 2**20
GIB = 2**30

_WORST_FIRST: tuple[Origin, ...] = ("assumed", "fitted", "computed", "measured")


@dataclass(frozen=True, slots=True)
class Figure:
    """Bytes, blocks or tokens. low <= expected <= high."""

    expected: int
    low: int
    high: int
    origin: Origin = "computed"

    def __post_init__(self) -> None:
        if not self.low <= self.expected <= self.high:
            raise ValueError(f"{self.low} <= {self.expected} <= {self.high} does not hold")

    def __add__(self, other: Figure) -> Figure:
        """Both at their worst together: bands add up, and the sum is as sure as its least sure part."""
        origin = min(self.origin, other.origin, key=_WORST_FIRST.index)
        return Figure(self.expected + other.expected, self.low + other.low, self.high + other.high, origin)


ZERO = Figure(0, 0, 0, "measured")
"""Adds nothing, neither bytes nor doubt."""


def exactly(value: int, origin: Origin = "computed") -> Figure:
    """No band."""
    return Figure(value, value, value, origin)


def within(value: int, share: float, origin: Origin) -> Figure:
    """`share` 0.05: five per cent either way."""
    spread = int(value * share)
    return Figure(value, value - spread, value + spread, origin)


def gib(size: int, places: int = 1) -> str:
    """Bytes in a sentence: `4.3 GiB`."""
    return f"{size / GIB:.{places}f} GiB"
