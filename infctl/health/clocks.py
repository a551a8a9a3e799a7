"""How far clocks are apart: another one's Date header against the clock of whoever asked. Pure.

A Date header has whole seconds and may be a second old (servers make it once a second), and an answer takes
its time: so an interval, and only what lies outside it is a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from infctl.health.found import Found, failure, ok, warning

TICK_S = 2.0
"""A whole second, and as much for a header that is made anew once a second."""
WARN_S = 2.0
BAD_S = 30.0
"""Where certificates, keys with an end, and days of quotas are judged visibly wrongly."""
CHECK = "time"


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one answer; Unix seconds."""

    where: str
    told: float
    """By the other clock."""
    before: float
    """By ours, when it was asked."""
    after: float
    """... and when the answer was there."""
    tick_s: float = TICK_S
    """How much older than its clock `told` may be."""

    @property
    def ahead_s(self) -> float:
        """The least by which the other clock is ahead (behind: negative); 0: no difference can be seen."""
        low, high = self.told - self.after, self.told + self.tick_s - self.before
        return low if low > 0 else min(high, 0.0)


def of_date(where: str, date: str, before: float, after: float) -> Reading | None:
    """From an HTTP Date header; None: it holds none."""
    try:
        told = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    return Reading(where, told.replace(tzinfo=told.tzinfo or UTC).timestamp(), before, after)


def judge(readings: Mapping[str, Reading | None]) -> Iterator[Found]:
    """By where they were taken; None: that one tells no time."""
    known = [one for one in readings.values() if one is not None]
    late = [one for one in known if abs(one.ahead_s) > WARN_S]
    for one in late:
        side = "ahead of" if one.ahead_s > 0 else "behind"
        tell = failure if abs(one.ahead_s) > BAD_S else warning
        yield tell(
            CHECK,
            one.where,
            f"its clock is at least {abs(one.ahead_s):,.0f} s {side} this machine's",
            why="days of quotas, ends of keys and certificates, and the order of log lines follow the clock",
            fix="timedatectl on both machines: is NTP on, and does it reach its server?",
        )
    silent = [where for where, one in readings.items() if one is None]
    if known and not late:
        yield ok(CHECK, ", ".join(one.where for one in known), "the clocks agree")
    elif not known:
        why = f"no answer of {', '.join(silent)} tells a time" if silent else "nobody answered"
        yield Found(CHECK, "skipped", ", ".join(silent), "not looked at", why)
