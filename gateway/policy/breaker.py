"""Does a backend that fails get requests? One table, time is an argument.

    state       success   failure                neutral     its pause is over   ejected
    closed      closed    closed, the nth opens  closed      -                   open
    open        closed    open                   open        half_open           -
    half_open   closed    open, twice as long    half_open   -                   -

Rule 1: a permit holds for the state it was given in: what was under way when the state changed says nothing.
Rule 2: half_open gives one permit at a time; whatever becomes of it, its end frees the place.
Rule 3: a 4xx is a success, 429 and 503 are neutral (the backend is busy), and so is a client that went away.
Rule 4: ejected is who stands out among its like (outlier.py), for as long as is said there.
Rule 5: the balancer may send past an open breaker when nobody else is left: only a success then counts.
"""

from __future__ import annotations

from typing import Final, Literal

from gateway.config import Breaker as Rules

State = Literal["closed", "open", "half_open"]
Fact = Literal["success", "failure", "neutral"]

STATES: Final[tuple[State, ...]] = ("closed", "open", "half_open")

TABLE: Final[dict[tuple[State, Fact], State]] = {
    ("closed", "success"): "closed",
    ("closed", "failure"): "open",  # the nth in a row
    ("closed", "neutral"): "closed",
    ("open", "success"): "closed",
    ("open", "failure"): "open",
    ("open", "neutral"): "open",
    ("half_open", "success"): "closed",
    ("half_open", "failure"): "open",
    ("half_open", "neutral"): "half_open",
}

PAST: Final = -1
"""The permit of a request that was sent past a half-open breaker whose one place was taken."""


class Breaker:
    """Of one backend. Times in seconds of one steady clock."""

    __slots__ = ("_generation", "_probing", "failures", "opened", "pause_s", "retry_at", "rules", "state")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.state: State = "closed"
        self.failures = 0
        """In a row."""
        self.opened = 0
        """How often, ever."""
        self.pause_s = rules.recovery_s
        """Of the current or the next pause."""
        self.retry_at = 0.0
        """When an open one is tried again."""
        self._generation = 0
        self._probing = False

    def lets_through(self, now: float) -> bool:
        if self.state == "closed":
            return True
        return now >= self.retry_at if self.state == "open" else not self._probing

    def take(self, now: float) -> int:
        """A permit, to be given back by `report`, whatever happens."""
        if self.state == "closed":
            return self._generation
        if self.state == "open" and now >= self.retry_at:
            self._enter("half_open")
        if self.state == "half_open":
            if self._probing:
                return PAST
            self._probing = True
        return self._generation

    def report(self, permit: int, fact: Fact, now: float) -> bool:
        """What became of it. True: new state."""
        if permit != self._generation:
            return False
        before = self.state
        if before == "closed":
            if fact == "success":
                self.failures = 0
            if fact != "failure":
                return False
            self.failures += 1
            if self.failures < self.rules.failures or not self.rules.enabled:
                return False
        self._probing = False
        after = TABLE[before, fact]
        if after == "open" and before != "open":
            longer = self.pause_s * 2 if before == "half_open" else self.rules.recovery_s
            self._open(min(longer, max(self.rules.recovery_max_s, self.rules.recovery_s)), now)
        if after != before:
            self._enter(after)
        return after != before

    def eject(self, pause_s: float, now: float) -> bool:
        """True: new state."""
        if self.state != "closed":
            return False
        self._open(pause_s, now)
        self._enter("open")
        return True

    def reset(self) -> None:
        """The backend began a new life: what the old one did is no measure."""
        if self.state != "closed":
            self._enter("closed")
        self.failures = 0

    def _open(self, pause_s: float, now: float) -> None:
        self.pause_s = pause_s
        self.retry_at = now + pause_s
        self.opened += 1

    def _enter(self, state: State) -> None:
        self.state = state
        self._generation += 1
        self._probing = False
        if state == "closed":
            self.failures = 0
            self.pause_s = self.rules.recovery_s
