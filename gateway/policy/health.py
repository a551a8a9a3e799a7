"""Is a backend fit for requests? One table, time is an argument.

    state     answers 200   answers else   refuses, fails   a request could not connect
    loading   ready         loading        loading          loading
    ready     ready         down           down             down
    down      ready         down           down             down

Rule 1: what has never been ready is loading, whatever it answers: engines take minutes.
Rule 2: only a probe makes a backend ready; requests can only take it out.
Rule 3: what failed to compute is ready again when it computes again, not when its /health says so.
Rule 4: what an operator drained stays drained, in any of these states (balancer.py).
"""

from __future__ import annotations

from typing import Final, Literal

State = Literal["loading", "ready", "down"]
Fact = Literal["answered", "unwell", "unreachable", "connect_failed"]

BLIP_S: Final = 2.0
"""Who is back sooner was not loading."""

TABLE: Final[dict[tuple[State, Fact], State]] = {
    ("loading", "answered"): "ready",
    ("loading", "unwell"): "loading",
    ("loading", "unreachable"): "loading",
    ("loading", "connect_failed"): "loading",
    ("ready", "answered"): "ready",
    ("ready", "unwell"): "down",
    ("ready", "unreachable"): "down",
    ("ready", "connect_failed"): "down",
    ("down", "answered"): "ready",
    ("down", "unwell"): "down",
    ("down", "unreachable"): "down",
    ("down", "connect_failed"): "down",
}


class Health:
    """What is known of one backend. Times in seconds of one steady clock."""

    __slots__ = (
        "away_since",
        "computes",
        "next_completion",
        "next_probe",
        "probed_at",
        "state",
        "takes_s",
        "why",
    )

    def __init__(self, now: float, takes_s: float | None = None) -> None:
        self.state: State = "loading"
        self.why = "not probed yet"
        self.probed_at: float | None = None
        self.next_probe = now
        self.takes_s = takes_s
        """How long it usually takes to load: as configured, then as it took the last time."""
        self.away_since: float | None = now
        """Since when it is loading, or there is nobody to ask, which is how a restart looks from here."""
        self.next_completion = now
        """When a real completion is due, where these are asked for."""
        self.computes = True
        """False: its last real completion failed, so that /health alone does not make it ready."""

    def probed(self, fact: Fact, why: str, now: float, interval_s: float, soon_s: float) -> bool:
        """A probe ended. The next: after `interval_s` when ready, else `soon_s`. True: new state."""
        self.probed_at = now
        self._watch(fact, now)
        changed = self._apply(fact, why)
        self.next_probe = now + (interval_s if self.state == "ready" else soon_s)
        return changed

    def connect_failed(self, why: str, now: float) -> bool:
        """A request found nobody there. The next probe is due at once. True: new state."""
        self.next_probe = now
        self._watch("connect_failed", now)
        return self._apply("connect_failed", why)

    def expected_at(self, now: float) -> float:
        """When it may take requests: the next probe, or the end of loading, if that is known to be later."""
        if self.takes_s is None or self.away_since is None:
            return self.next_probe
        loaded_at = self.away_since + self.takes_s
        return max(loaded_at, self.next_probe) if loaded_at > now else self.next_probe

    def _watch(self, fact: Fact, now: float) -> None:
        if fact == "answered":
            if self.away_since is not None and now - self.away_since >= BLIP_S:
                self.takes_s = now - self.away_since
            self.away_since = None
        elif fact != "unwell" and self.away_since is None:
            self.away_since = now

    def _apply(self, fact: Fact, why: str) -> bool:
        before, self.state = self.state, TABLE[self.state, fact]
        self.why = "" if self.state == "ready" else why
        return before != self.state
