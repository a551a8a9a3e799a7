"""Does one replica do worse than the others of its model? Then it is passed over for a while. No clock.

    a backend is   and stands out               and does not           its time is over
    in             out, a strike more; or kept  in, a strike less      -
    out            -                            -                      in, once a call of our own is answered

Rule 1: out is an open breaker (breaker.py): who may be sent to has one place to be asked for.
Rule 2: failures: a share of at least `failures`, and more than twice that of the others together: where all
        fail, it is not the replica. Slow: calls last more than `slower` times the median of the others.
Rule 3: fewer than `requests` ended calls say nothing; nor does a group where nobody else has as many.
Rule 4: one a look, the worst. At least one fit backend stays, and half of those that there are: the last one
        is never ejected by statistics, it is `kept`.
Rule 5: the first pause is `eject_s`; each further strike doubles it, up to `eject_max_s`.

How long calls last is what Little's law says: mean in flight / ended a second. Both are counts that the
balancer keeps anyway, so watching costs a request nothing; and a call that hangs is seen before it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from gateway.config import Outliers as Rules
from gateway.policy.backend import Backend

Why = Literal["failures", "slow"]

CLEARER: Final = 2.0
"""Times the share of failures of the others."""
LEAST_S: Final = 0.05
"""Calls that are longer by less are not slow, whatever the ratio."""
LEAST_SEEN: Final = 20
"""Samples of calls in flight: of fewer a mean says nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One backend since the last look."""

    fit: bool
    """Ready, not drained, its breaker closed."""
    ended: int
    failed: int
    lasts_s: float | None
    """Its calls, on the average; None: too few were seen."""

    @property
    def share(self) -> float:
        return self.failed / self.ended if self.ended else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    backend: Backend
    why: Why
    pause_s: float | None
    """None: kept, because too few would be left."""
    value: float
    others: float
    """Shares of calls that failed, or seconds."""


def worst(group: Sequence[Seen], rules: Rules) -> tuple[int, Why, float, float] | None:
    """Who stands out the most: its number, why, its value and the others'. Rules 2 and 3."""
    counted = [n for n, seen in enumerate(group) if seen.fit and seen.ended >= rules.requests]
    found: list[tuple[float, int, Why, float, float]] = []
    for n in counted:
        seen, rest = group[n], [group[other] for other in counted if other != n]
        if not rest:
            continue
        others = sum(each.failed for each in rest) / sum(each.ended for each in rest)
        if seen.share >= rules.failures and seen.share > CLEARER * others:
            found.append((math.inf, n, "failures", seen.share, others))
        times_s = [each.lasts_s for each in rest if each.lasts_s is not None]
        if seen.lasts_s is None or not times_s:
            continue
        usual_s = median(times_s)
        if seen.lasts_s > rules.slower * usual_s and seen.lasts_s - usual_s > LEAST_S:
            found.append((seen.lasts_s / usual_s if usual_s else math.inf, n, "slow", seen.lasts_s, usual_s))
    if not found:
        return None
    _, n, why, value, rest_value = max(found, key=lambda each: (each[2] == "failures", each[0], each[3]))
    return n, why, value, rest_value


def may_go(group: Sequence[Seen]) -> bool:
    """May one more of the fit ones go? Rule 4."""
    fit = sum(seen.fit for seen in group)
    return fit - 1 >= max(1, math.ceil(len(group) / 2))


class _Tally:
    """Of one backend, since the last look."""

    __slots__ = ("answered", "errors", "in_flight", "samples", "strikes")

    def __init__(self, backend: Backend) -> None:
        self.strikes = 0
        self.start(backend)

    def start(self, backend: Backend) -> None:
        self.answered, self.errors = backend.answered, backend.errors
        self.in_flight = self.samples = 0

    def seen(self, backend: Backend, over_s: float) -> Seen:
        failed = backend.errors - self.errors
        ended = failed + backend.answered - self.answered
        lasts_s = None
        if ended and self.in_flight >= LEAST_SEEN:
            lasts_s = self.in_flight / self.samples * over_s / ended
        fit = backend.takes_requests and backend.breaker.state == "closed"
        return Seen(fit, ended, failed, lasts_s)


class Outliers:
    """Those of one process."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._tallies: dict[Backend, _Tally] = {}
        self._began_at: float | None = None

    def look(self, groups: Iterable[Sequence[Backend]], now: float) -> tuple[Verdict, ...]:
        """Call it often: it samples, and each `interval_s` it judges. `groups`: the backends of each model.

        The caller opens the breakers of those with a pause.
        """
        if self._began_at is None:
            self._began_at = now
        over_s = now - self._began_at
        judging, known, found = over_s >= self.rules.interval_s, self._tallies, []
        self._tallies = {}
        for group in groups:
            for backend in group:
                tally = self._tallies[backend] = known.get(backend) or _Tally(backend)
                tally.in_flight += backend.in_flight
                tally.samples += 1
            if judging:
                found += self._judge(group, over_s)
        if judging:
            self._began_at = now
        return tuple(found)

    def _judge(self, group: Sequence[Backend], over_s: float) -> list[Verdict]:
        tallies = [self._tallies[backend] for backend in group]
        seen = [tally.seen(backend, over_s) for tally, backend in zip(tallies, group, strict=True)]
        outlier = worst(seen, self.rules)
        for n, (tally, backend) in enumerate(zip(tallies, group, strict=True)):
            if seen[n].fit and (outlier is None or outlier[0] != n):
                tally.strikes = max(0, tally.strikes - 1)
            tally.start(backend)
        if outlier is None:
            return []
        n, why, value, others = outlier
        pause_s = None
        if may_go(seen):
            doubled_s = self.rules.eject_s * 2.0 ** min(tallies[n].strikes, 20)
            pause_s = min(doubled_s, max(self.rules.eject_s, self.rules.eject_max_s))
            tallies[n].strikes += 1
        return [Verdict(group[n], why, pause_s, value, others)]
