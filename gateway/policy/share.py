"""What one worker holds of one counter in one window, and how large its next lease should be. Pure.

    granted by the store = free + reserved + reported + not yet reported (settled, returned)

A reservation moves free -> reserved; its end moves reserved -> settled, and what was not used back to free.
"""

from __future__ import annotations

import math
from typing import Final

from gateway.policy.exchange import NO_PERIOD, Line
from gateway.policy.limits import Limit

QUOTA_PART: Final = 100
"""A quota's lease is at most this part of its limit ..."""
FAST_PART: Final = 8
"""... and of rates and slots, whose limits are small and whose shares come back in a moment, this part."""
AHEAD_S: Final = 2.0
"""... and of either, as much as was used in so long."""
IDLE_S: Final = 1.0
"""Not used for so long: what is free goes back."""
ALONE_S: Final = 30.0
"""... where there is no other worker that could lack it."""


class Share:
    __slots__ = (
        "amount",
        "asked",
        "claim",
        "counter",
        "credit",
        "dirty",
        "end_s",
        "final_until",
        "free",
        "granted",
        "heard",
        "left",
        "limit",
        "local",
        "low",
        "period",
        "recent",
        "reserved",
        "retry_at",
        "returned",
        "seen_gone",
        "settled",
        "touched_at",
        "unknown",
        "until",
        "yielded",
    )

    def __init__(self, limit: Limit, period: str = NO_PERIOD, *, local: bool = False) -> None:
        # First what each request touches: compiled, it lies together in memory.
        self.free = limit.amount if local else 0
        self.reserved = 0
        self.low = -1
        """Below it more is asked for ahead of need; -1: never."""
        self.settled = 0
        """Not yet reported."""
        self.unknown = 0
        self.left = 0
        """Free in the store, when it was last asked."""
        self.end_s = 0
        """Of the window, by the store's clock."""
        self.dirty = False
        """It is among those that the next exchange looks at."""
        self.asked = False
        self.local = local
        """Nobody else uses this counter: the store is not asked."""
        self.credit = 0
        self.limit = limit
        self.amount = limit.amount
        self.counter = limit.counter
        self.period = period
        self.until = math.inf if local else 0.0
        """By this worker's clock: from then on nothing may be spent of it."""
        self.returned = 0
        """Not yet reported."""
        self.claim = -1
        self.yielded = 0
        self.heard = False
        """It was asked, and answered."""
        self.granted = 0
        """Ever."""
        self.final_until = 0.0
        """Until then the store's word that nothing is left is taken as it was."""
        self.retry_at = 0.0
        self.recent = 0.0
        """Used a second, of late."""
        self.seen_gone = 0
        self.touched_at = 0.0

    def watch(self, now: float, passed_s: float) -> None:
        """Before an exchange: how much was used since the last one."""
        gone = self.granted - self.free
        used = max(0, gone - self.seen_gone)
        self.seen_gone = gone
        if used:
            self.touched_at = now
        if passed_s > 0:
            self.recent = (self.recent + used / passed_s) / 2

    def size(self) -> int:
        """What is to be free after the next lease: some seconds' use, and once more what is reserved now.

        Without the second, requests that reserve much and use little would each have to ask the store.
        """
        part = QUOTA_PART if self.limit.measure.kind == "quota" else FAST_PART
        return max(1, min(self.amount // part, max(math.ceil(self.recent * AHEAD_S), self.reserved)))

    def spare(self, needed: int) -> int:
        """To ask for beyond what those who wait need; 0 of them: ahead of need."""
        return self.size() if needed else max(0, self.size() - self.free)

    def grant(self, amount: int, left: int) -> None:
        self.free += amount
        self.granted += amount
        self.seen_gone = self.granted - self.free
        self.left = left
        self.low = min(self.size(), self.free) // 2 if left > 0 else -1

    def give_back(self) -> None:
        """All that is free."""
        self.returned += self.free
        self.granted -= self.free
        self.free = 0
        self.seen_gone = self.granted
        self.low = -1

    @property
    def busy(self) -> bool:
        """Something would be lost if it were forgotten."""
        return bool(self.free or self.reserved or self.dirty or self.asked) and not (
            self.local and not self.reserved
        )

    def line(self, need: int, want: int) -> Line | None:
        """What there is to tell, which with this is told. None: nothing."""
        limit, measure = self.limit, self.limit.measure
        if self.claim >= 0:
            self.claim = self.free + self.reserved
        told = (self.settled, self.unknown, self.returned, self.credit, self.claim, self.yielded)
        if told == (0, 0, 0, 0, -1, 0) and not need:
            return None
        self.settled = self.unknown = self.returned = self.credit = self.yielded = 0
        self.claim = -1
        return Line(
            self.counter,
            measure.kind,
            measure.span,
            limit.amount,
            limit.per_s,
            self.period,
            *told,
            need,
            want,
        )
