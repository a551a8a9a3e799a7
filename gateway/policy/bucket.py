"""A token bucket: `amount` at once, then `per_s` a second. Time is an argument, in seconds of a steady clock.

Kept as one number, the moment at which it will be full again: taking is an addition and a comparison.
"""

from __future__ import annotations

from typing import Final

SLACK: Final = 1e-9
"""Of the amount: sums of floats must not refuse what fits exactly."""


class Bucket:
    __slots__ = ("_full_at", "_last", "amount", "per_s")

    def __init__(self, amount: float, per_s: float) -> None:
        """Both above 0. Begins full."""
        self.amount = amount
        self.per_s = per_s
        self._full_at = 0.0
        self._last = float("-inf")

    def level(self, now: float) -> float:
        """What could be taken now."""
        if now < self._last:  # as in `_steady`, written out here and below: these are asked with each request
            now = self._last
        else:
            self._last = now
        lacking_s = self._full_at - now
        return self.amount - lacking_s * self.per_s if lacking_s > 0 else self.amount

    def fits(self, wanted: float, now: float) -> bool:
        if now < self._last:
            now = self._last
        else:
            self._last = now
        lacking = (self._full_at - now) * self.per_s if self._full_at > now else 0.0
        return lacking + wanted <= self.amount * (1 + SLACK)

    def take(self, wanted: float, now: float) -> None:
        """After `fits`; also beyond it, where something was used that nobody foresaw."""
        if now < self._last:
            now = self._last
        else:
            self._last = now
        self._full_at = (max(self._full_at, now)) + wanted / self.per_s

    def give(self, unused: float) -> None:
        """Back, of what was taken. It is never fuller than full."""
        self._full_at -= unused / self.per_s

    def wait_s(self, wanted: float, now: float) -> float | None:
        """Until `wanted` fits, if nobody else takes anything. None: never, it is more than the amount."""
        if wanted > self.amount * (1 + SLACK):
            return None
        return max(0.0, (wanted - self.level(now)) / self.per_s)

    def resized(self, amount: float, per_s: float, now: float) -> None:
        """New figures: what is missing now stays missing."""
        lacking = min(self.amount - self.level(now), amount)
        self.amount, self.per_s = amount, per_s
        self._full_at = self._steady(now) + lacking / per_s

    def _steady(self, now: float) -> float:
        """A clock that goes back gives nothing back."""
        self._last = max(self._last, now)
        return self._last
