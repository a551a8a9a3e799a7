"""Means, deviations, percentiles, added up in numpy's order: the same to the last digit. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BLOCK = 128
"""Up to so many values numpy adds up in eight running sums; longer ones are halved first."""


def total(values: Sequence[float]) -> float:
    """The sum, pairwise."""
    return _pairwise(values, 0, len(values))


def mean(values: Sequence[float]) -> float:
    return total(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """Of the population: divided by n, not by n - 1."""
    middle = mean(values)
    return math.sqrt(mean([(value - middle) * (value - middle) for value in values]))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Linear between the two nearest ranks. `ordered`: ascending, not empty."""
    place = percent / 100 * (len(ordered) - 1)
    low = math.floor(place)
    share = place - low
    first, second = ordered[low], ordered[min(low + 1, len(ordered) - 1)]
    gap = second - first
    return second - gap * (1 - share) if share >= 0.5 else first + gap * share


def median(ordered: Sequence[float]) -> float:
    """`ordered`: ascending, not empty."""
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def reached(ordered: Sequence[float], failures: int, percent: float) -> float:
    """The least time within which `percent` of all were answered; failures never were: infinity then."""
    rank = max(1, math.ceil(percent / 100 * (len(ordered) + failures) - 1e-9))
    return ordered[rank - 1] if rank <= len(ordered) else math.inf


def _pairwise(values: Sequence[float], start: int, count: int) -> float:
    if count < 8:
        found = 0.0
        for at in range(start, start + count):
            found += values[at]
        return found
    if count <= _BLOCK:
        whole = count - count % 8
        sums = list(values[start : start + 8])
        for at in range(start + 8, start + whole, 8):
            for lane in range(8):
                sums[lane] += values[at + lane]
        a, b, c, d, e, f, g, h = sums
        found = ((a + b) + (c + d)) + ((e + f) + (g + h))
        for at in range(start + whole, start + count):
            found += values[at]
        return found
    half = count // 2
    half -= half % 8
    return _pairwise(values, start, half) + _pairwise(values, start + half, count - half)
