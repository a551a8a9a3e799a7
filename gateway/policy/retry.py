"""May a request that failed be sent again? Decided before the first byte of an answer went out. No clock.

    what the backend did                                    again, elsewhere?
    refused the connection, or gave none in time            yes
    ended the connection before a byte of its answer        yes
    answered 502, 503 or 504                                yes
    sent a byte of an answer's body, then broke off         no: it has done the work
    hung, or said what is no HTTP                           no: it may still be working on it
    anything else                                           no: that is its answer

Rule 1: never at the backend that just failed.
Rule 2: no more than `attempts` in all, and never behind the request's deadline.
Rule 3: no more than `budget` of the requests at backends are retries, hedges among them, so that a failing
        backend is not met by a multiple of its load; `budget_min` are always allowed.
Rule 4: pauses are drawn from nothing to a length that doubles (full jitter), so that what failed together
        does not come back together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gateway.config import Retries as Rules

STATUSES: Final = frozenset((502, 503, 504))


@dataclass(frozen=True, slots=True)
class Again:
    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    why: Literal["attempts", "deadline", "budget"]


class Retries:
    """Those of one process."""

    __slots__ = ("retrying", "rules")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.retrying = 0
        """Requests that were sent again and have not ended."""

    def decide(
        self, attempt: int, active: int, left_s: float, chance: float, *, counted: bool
    ) -> Again | GiveUp:
        """`attempt`: the one that failed, from 1. `active`: requests at backends, this one included.

        `left_s`: until its deadline. `chance`: 0 <= x < 1. `counted`: it is one of `retrying` already.
        Again: counted from now on, until `ended`.
        """
        rules = self.rules
        if attempt >= rules.attempts:
            return GiveUp("attempts")
        after_s = chance * min(rules.backoff_s * 2 ** (attempt - 1), rules.backoff_max_s)
        if after_s >= left_s:
            return GiveUp("deadline")
        return Again(after_s) if self.one_more(active, counted=counted) else GiveUp("budget")

    def one_more(self, active: int, *, counted: bool) -> bool:
        """May a request be at a backend once more? True: counted from now on, until `ended`."""
        if counted:
            return True
        if self.retrying >= max(self.rules.budget_min, self.rules.budget * active):
            return False
        self.retrying += 1
        return True

    def ended(self) -> None:
        """A counted request has ended."""
        self.retrying -= 1
