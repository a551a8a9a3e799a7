"""One load after the other: where more gives hardly more, and the greatest that keeps the SLOs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

KEPT_SHARE = 0.95
"""Of the requests, that must keep every SLO."""
GAIN = 0.5
"""Below it, more load is hardly more throughput: the share of a doubling that a doubled load still gives."""
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Step:
    """One load and what came of it. `load`: requests at once, or a second."""

    load: float
    per_s: float
    """Requests a second that ended ok; of an invalid run it is not to be used."""
    counted: int
    good: int | None
    """Requests that kept every SLO; None: there are none to keep."""
    valid: bool = True

    @property
    def kept(self) -> tuple[float, float] | None:
        return None if self.good is None else wilson(self.good, self.counted)


def knee(steps: Sequence[Step]) -> Step | None:
    """The last load up to which each growth of it by x gave at least x to the power of GAIN in throughput.

    None where fewer than two loads can be told apart, or it is not reached: the greatest load still gains.
    """
    told = [step for step in steps if step.valid and step.per_s > 0]
    for before, after in pairwise(told):
        if math.log(after.per_s / before.per_s) < GAIN * math.log(after.load / before.load):
            return before
    return None


def greatest(steps: Sequence[Step]) -> Step | None:
    """The greatest load that keeps the SLOs, as each smaller one does: for KEPT_SHARE of its requests."""
    found = None
    for step in steps:
        if not step.valid or step.good is None or step.good < KEPT_SHARE * step.counted or not step.counted:
            break
        found = step
    return found


def wilson(good: int, counted: int) -> tuple[float, float]:
    """The 95 % interval of a share; Wilson, 1927."""
    if not counted:
        return 0.0, 1.0
    share, z2 = good / counted, _Z * _Z
    middle = (share + z2 / (2 * counted)) / (1 + z2 / counted)
    wide = _Z / (1 + z2 / counted) * math.sqrt(share * (1 - share) / counted + z2 / (4 * counted * counted))
    return max(0.0, middle - wide), min(1.0, middle + wide)
