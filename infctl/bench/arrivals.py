"""When requests are due, in seconds after the run began: an endless, seeded sequence. Pure.

    constant       evenly spaced
    poisson        each at any moment alike: gaps are exponential
    gamma:0.5      gaps of a gamma distribution of that shape: below 1 clustered, above 1 evener
    bursts:10      ten at once, then a pause; the mean rate is kept
    ramp:1         poisson, from 1 request a second up to the rate over the duration of the run

An open loop sends when a request is due, whether or not earlier ones were answered. A closed loop has no
arrivals: a request follows an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count

from infctl.bench.chance import Chance

FORMS = "poisson, constant, gamma:0.5, bursts:10, ramp:1"


def read(text: str, rate: float, duration_s: float | None) -> Callable[[int], Iterator[float]]:
    """From a seed to the times. `rate`: requests a second. Raises ValueError with what would be right."""
    name, _, figure = text.partition(":")
    try:
        value = float(figure) if figure else None
    except ValueError:
        raise ValueError(f"{figure!r} is no number: {FORMS}") from None
    if name == "constant" and value is None:
        return lambda _seed: (number / rate for number in count())
    if name == "poisson" and value is None:
        return lambda seed: _gamma(rate, 1.0, Chance(seed, "arrivals"))
    if name == "gamma" and value is not None and 0.01 <= value <= 1000:
        return lambda seed: _gamma(rate, value, Chance(seed, "arrivals"))
    if name == "bursts" and value is not None and value >= 1:
        return lambda _seed: (number // int(value) * int(value) / rate for number in count())
    if name == "ramp" and value is not None and 0 <= value < math.inf:
        if duration_s is None:
            raise ValueError("a ramp needs --duration: over that time the rate rises")
        return lambda seed: _ramp(value, rate, duration_s, Chance(seed, "arrivals"))
    raise ValueError(f"{text!r} is no way to arrive: {FORMS}")


def _gamma(rate: float, shape: float, chance: Chance) -> Iterator[float]:
    now = 0.0
    while True:
        now += chance.exponential(1.0 / rate) if shape == 1.0 else chance.gamma(shape, 1.0 / (rate * shape))
        yield now


def _ramp(first: float, last: float, over_s: float, chance: Chance) -> Iterator[float]:
    """By the inverse of what has come until t: first t + (last - first) t^2 / 2 over_s; then `last`."""
    come, until = 0.0, (first + last) / 2 * over_s
    steep = (last - first) / over_s
    while True:
        come += chance.exponential(1.0)
        if come > until:
            yield over_s + (come - until) / last
        elif abs(steep) < 1e-12:
            yield come / last
        else:
            yield (math.sqrt(first * first + 2 * steep * come) - first) / steep
