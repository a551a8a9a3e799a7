"""When is a call that a backend is silent about sent to a second one as well? One table, no clock, no I/O.

    state   first answered   first failed   second answered   second failed   silent   denied
    first   first_won        lost           -                 -               both     alone
    both    first_won        second         second_won        alone           -        -
    alone   first_won        lost           -                 -               -        -
    second  -                -              second_won        lost            -        -

    first: one is under way, a second may come · alone, second: one is under way, and no other will come
    silent: no first byte within the delay · denied: ... and no place, or nothing left of the retry budget

Rule 1: at most one extra, at another backend, and only beside the first try of a call.
Rule 2: what ends first with an answer wins; while both are under way a 429 or a 5xx is none.
Rule 3: the other one is cut at once and its place given back; that says nothing of its backend, which may
        have been about to answer. What failed by itself counts as ever.
Rule 4: an extra is a retry to the budget: together they are never more than its share of the requests.
"""

from __future__ import annotations

from typing import Final, Literal

from gateway.config import Hedging as Rules

State = Literal["first", "both", "alone", "second", "first_won", "second_won", "lost"]
Event = Literal["silent", "denied", "first_answered", "first_failed", "second_answered", "second_failed"]

TABLE: Final[dict[tuple[State, Event], State]] = {
    ("first", "silent"): "both",
    ("first", "denied"): "alone",
    ("first", "first_answered"): "first_won",
    ("first", "first_failed"): "lost",
    ("both", "first_answered"): "first_won",
    ("both", "first_failed"): "second",
    ("both", "second_answered"): "second_won",
    ("both", "second_failed"): "alone",
    ("alone", "first_answered"): "first_won",
    ("alone", "first_failed"): "lost",
    ("second", "second_answered"): "second_won",
    ("second", "second_failed"): "lost",
}

ENDS: Final[frozenset[State]] = frozenset(("first_won", "second_won", "lost"))


class Hedge:
    """One call's."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: State = "first"

    def happened(self, event: Event) -> State:
        """The new state. Raises KeyError for what cannot be."""
        self.state = TABLE[self.state, event]
        return self.state


RECENT: Final = 256
"""Calls of one kind that the percentile is taken of."""
LEAST: Final = 20
"""... and before which nothing is known."""
STEP: Final = 16
"""Calls between two looks at them."""
SHORTEST_S: Final = 0.01
"""A delay below it would double what is not late at all."""


def answers(status: int) -> bool:
    """Rule 2: is it worth ending the other one for?"""
    return status < 500 and status != 429


class _Recent:
    """How long the latest calls of one kind took, in a ring."""

    __slots__ = ("at", "mark_s", "seen", "times_s")

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.at = 0
        self.seen = 0
        self.mark_s: float | None = None
        """The percentile, as of the last look."""

    def add(self, took_s: float, percentile: float) -> None:
        if len(self.times_s) < RECENT:
            self.times_s.append(took_s)
        else:
            self.times_s[self.at] = took_s
            self.at = (self.at + 1) % RECENT
        self.seen += 1
        if self.seen >= LEAST and (self.mark_s is None or self.seen % STEP == 0):
            ordered = sorted(self.times_s)
            self.mark_s = ordered[int(len(ordered) * percentile / 100)]


class Hedges:
    """Those of one process: how long to wait before there is a second one."""

    __slots__ = ("_recent", "on", "rules")

    def __init__(self, rules: Rules) -> None:
        self._recent: dict[tuple[str, bytes], _Recent] = {}
        self.configure(rules)

    def configure(self, rules: Rules) -> None:
        """What was learnt is forgotten: models may have changed."""
        self.rules = rules
        self.on = rules.enabled
        self._recent.clear()

    def after_s(self, model: str, path: bytes) -> float | None:
        """From the moment it was sent. None: not known yet, so there is no second one."""
        if self.rules.after_s is not None:
            return self.rules.after_s
        recent = self._recent.get((model, path))
        return None if recent is None or recent.mark_s is None else max(recent.mark_s, SHORTEST_S)

    def answered(self, model: str, path: bytes, took_s: float) -> None:
        """A call was answered so long after it was first sent, by whichever backend.

        So the late ones stay late in what is remembered, and the delay does not creep down.
        """
        if self.rules.after_s is not None:
            return
        recent = self._recent.get((model, path))
        if recent is None:
            recent = self._recent[model, path] = _Recent()
        recent.add(took_s, self.rules.percentile)
