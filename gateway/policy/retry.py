"""May a request that failed be sent again? Decided before the first byte of an answer went out. No clock.

    what the backend did                                                    again, elsewhere?
    no_connection   refused one, or gave none in time                       yes
    gone            ended it before a byte of its answer, or of its body    yes
    unavailable     answered 502, 503 or 504                                yes
    begun           sent a byte, then broke off or made no sense            no: it has done the work
    silent          hung                                                    no: it may still be working on it
    answered        anything else                                           no: that is its answer

Rule 1: never at the backend that just failed.
Rule 2: no more than `attempts` in all, and never behind the request's deadline.
Rule 3: no more than `budget` of the requests at backends are retries, hedges among them, so that a failing
        backend is not met by a multiple of its load; `budget_min` are always allowed.
        One counts until its answer begins: what has begun asks no more of a backend than any other.
Rule 4: pauses are drawn from nothing to a length that doubles (full jitter), so that what failed together
        does not come back together.
Rule 5: what broke off when the budget was used up waits for its turn, first come, first served, as long as
        one is counted whose turn ends. A backend that dies under load has more requests than the budget.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.config import Retries as Rules

Deed = Literal["no_connection", "gone", "unavailable", "begun", "silent", "answered"]

TABLE: Final[dict[Deed, bool]] = {
    "no_connection": True,
    "gone": True,
    "unavailable": True,
    "begun": False,
    "silent": False,
    "answered": False,
}
STATUSES: Final = frozenset((502, 503, 504))
"""Of who is unavailable."""


def deed(*, connected: bool, timed_out: bool, begun: bool) -> Deed:
    """What a backend did that gave no answer."""
    if not connected:
        return "no_connection"
    if timed_out:
        return "silent"
    return "begun" if begun else "gone"


def deed_of(status: int) -> Deed:
    return "unavailable" if status in STATUSES else "answered"


@dataclass(frozen=True, slots=True)
class Again:
    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    why: Literal["attempts", "deadline", "budget", "nobody"]


class Retries:
    """Those of one process."""

    __slots__ = ("_number", "_waiting", "retrying", "rules")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.retrying = 0
        """Requests that were sent again and whose answer has not begun."""
        self._waiting: OrderedDict[int, Callable[[], None]] = OrderedDict()
        self._number = 0

    @property
    def waiting(self) -> int:
        """For a turn."""
        return len(self._waiting)

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
        """A counted one was answered, or will not be: who has waited longest is counted in its place."""
        if self._waiting:
            self._waiting.popitem(last=False)[1]()
        else:
            self.retrying -= 1

    def wait(self, wake: Callable[[], None]) -> int | None:
        """`wake` is called once, when its turn has come; it is counted then. None: none will come.

        The number is for `leave`.
        """
        if not self.retrying:
            return None
        self._number += 1
        self._waiting[self._number] = wake
        return self._number

    def leave(self, number: int) -> None:
        """Who has asked is gone, whether its turn has come or not."""
        if self._waiting.pop(number, None) is None:
            self.ended()
