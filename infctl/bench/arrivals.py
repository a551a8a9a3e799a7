"""When requests are due, in seconds after the run began: an endless, seeded sequence. Pure.

An open loop sends when a request is due, whether or not earlier ones were answered. A closed loop has no
arrivals: a request follows an answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.bench.chance import Chance

KINDS = ("constant", "poisson")


def due(kind: str, rate: float, seed: int) -> Iterator[float]:
    """`rate`: requests a second. The first of `constant` is due at once; of the others after its own gap."""
    return _constant(rate) if kind == "constant" else _poisson(rate, Chance(seed, "arrivals"))


def _constant(rate: float) -> Iterator[float]:
    count = 0
    while True:
        yield count / rate
        count += 1


def _poisson(rate: float, chance: Chance) -> Iterator[float]:
    now = 0.0
    while True:
        now += chance.exponential(1.0 / rate)
        yield now
