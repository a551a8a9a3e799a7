"""When a worker that ended unasked is started again. Pure.

lived                 next start
STEADY_S or longer    at once
shorter, once         at once
shorter, again        after FIRST_S, then twice as long each time, up to LONGEST_S
"""

from __future__ import annotations

from typing import Final

STEADY_S: Final = 10.0
"""Who served so long did not fail at starting."""
FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0


class Pace:
    """Of one worker's place. `quick`: short lives in a row."""

    __slots__ = ("quick",)

    def __init__(self) -> None:
        self.quick = 0

    def after(self, lived_s: float) -> float:
        """The pause before the next start, in seconds; `lived_s`: since it was started."""
        self.quick = 0 if lived_s >= STEADY_S else self.quick + 1
        return 0.0 if self.quick <= 1 else min(LONGEST_S, FIRST_S * 2 ** min(self.quick - 2, 10))
