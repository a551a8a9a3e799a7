"""UTC days and months, and a clock that never goes back.

A quota's window is found by the store's clock. `Guard` holds the highest reading: a clock that is set back
does not open an old window anew, so nothing is given out twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from gateway.policy.limits import Span

DAY_S: Final = 86_400
CLOCK_MAX_S: Final = 253_370_764_800.0
"""The year 9999: a clock beyond it is broken, and datetime would refuse it."""


class Window(msgspec.Struct, frozen=True):
    period: str
    """`2026-11-27`, or `2026-11`."""
    start_s: int
    end_s: int
    """Unix seconds; the first that no longer belongs to it."""

    def __contains__(self, clock_s: float) -> bool:
        return self.start_s <= clock_s < self.end_s


def window(span: Span, clock_s: float) -> Window:
    """The one that `clock_s` (Unix seconds) lies in. Raises ValueError for what is no time at all."""
    if not 0 <= clock_s < CLOCK_MAX_S:  # NaN as well
        raise ValueError(f"the clock says {clock_s!r}: no time between 1970 and 9999")
    moment = datetime.fromtimestamp(int(clock_s), UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if span == "day":
        return Window(f"{day:%Y-%m-%d}", int(day.timestamp()), int(day.timestamp()) + DAY_S)
    first = day.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return Window(f"{first:%Y-%m}", int(first.timestamp()), int(following.timestamp()))


class Guard:
    """max(last seen, the clock). `last_s` is what has to survive a restart."""

    __slots__ = ("last_s",)

    def __init__(self, last_s: float = 0.0) -> None:
        self.last_s = last_s

    def read(self, clock_s: float) -> float:
        """What to take for now. A reading that is no time is passed over."""
        if self.last_s < clock_s < CLOCK_MAX_S:
            self.last_s = clock_s
        return self.last_s
