"""The moments before this one: all of the last seconds, then one in ten seconds, none beyond five minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from infctl.watch.counts import GATEWAY, Calls, Counts, Engine

RATE_S: Final = 10.0
"""Requests and tokens a second are means over as much."""
ERRORS_S: Final = 300.0
"""Errors, refusals and times to the first token are of as much."""
EACH_S: Final = 10.0
"""Between two moments that are kept of those older than RATE_S."""
ANEW: Final = "it began anew after this"


@dataclass(frozen=True, slots=True)
class Past:
    """Oldest first."""

    moments: tuple[Counts, ...] = ()

    def with_now(self, now: Counts) -> Past:
        """`now` is the last one. Of what began anew nothing before is kept: it cannot be compared."""
        kept: list[Counts] = []
        for one in self.moments:
            if now.at - one.at > ERRORS_S or one.at >= now.at:
                continue
            if now.at - one.at > RATE_S and kept and one.at - kept[-1].at < EACH_S:
                continue
            kept.append(one)
        anew = {name for name, told in now.engines.items() if _began_anew(told, self._last(name))}
        last = next((one for one in reversed(kept) if one.told), None)
        if last is not None and now.told and _began_anew_of(now.models, last.models):
            kept = [Counts(one.at, engines=one.engines, down={GATEWAY: ANEW}) for one in kept]
        if anew:
            kept = [
                replace(one, engines={n: told for n, told in one.engines.items() if n not in anew})
                for one in kept
            ]
        return replace(self, moments=(*kept, now))

    def _last(self, engine: str) -> Engine | None:
        return next((one.engines[engine] for one in reversed(self.moments) if engine in one.engines), None)

    @property
    def now(self) -> Counts:
        return self.moments[-1]

    def before(self, span_s: float, knows: Callable[[Counts], bool] | None = None) -> Counts | None:
        """The oldest that is at most `span_s` old and knows what is asked for; where looks are further apart,
        the newest that is older. None: there is none.
        """
        known = [one for one in self.moments[:-1] if knows is None or knows(one)]
        inside = next((one for one in known if self.now.at - one.at <= span_s), None)
        return inside or (known[-1] if known else None)

    def calls(self, of: Callable[[Counts], Mapping[str, Calls]], key: str, span_s: float) -> Moved | None:
        """What came to the counts of `key` in `span_s`. None: nothing to compare with.

        One that is new counts from 0: its first call is a call.
        """
        before = self.before(span_s, lambda one: one.told)
        if before is None or not self.now.told:
            return None
        moved = of(self.now).get(key, Calls()).since(of(before).get(key, Calls()))
        return None if moved is None else Moved(moved, self.now.at - before.at)

    def rate(self, of: Callable[[Counts], float | None], span_s: float = RATE_S) -> float | None:
        """A second, of a figure that only grows; None: it is not known twice, or began anew."""
        before = self.before(span_s, lambda one: of(one) is not None)
        last = of(self.now)
        first = None if before is None else of(before)
        if before is None or first is None or last is None or last < first:
            return None
        return (last - first) / (self.now.at - before.at)


def _began_anew_of(now: Mapping[str, Calls], before: Mapping[str, Calls]) -> bool:
    return any(now.get(key, Calls()).since(calls) is None for key, calls in before.items())


def _began_anew(now: Engine, before: Engine | None) -> bool:
    if before is None:
        return False
    pairs = ((now.tokens_in, before.tokens_in), (now.tokens_out, before.tokens_out))
    return any(last is not None and first is not None and last < first for last, first in pairs)


@dataclass(frozen=True, slots=True)
class Moved:
    """What came in so many seconds."""

    calls: Calls
    seconds: float

    def per_s(self, count: float) -> float:
        return count / self.seconds
