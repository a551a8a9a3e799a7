"""The store's decisions: what one line of an exchange does to one counter. Pure; written in Lua as well.

    quota   settled + the sum of leases <= limit         a lease ends as settled, or is given back
    slots   the sum of leases <= limit                   a lease is given back
    rate    level + the sum of leases <= amount          the level grows with time up to that

Rule 1: what is granted is in the sum of leases before anybody can spend it: so never over.
Rule 2: who lacks something is hungry: others give back what they do not use, and say up to which hunger they
have (`acked`). Only when all who are alive have, it is final that nothing is left.
Rule 3: near the limit grants shrink: a fourth of an equal share of what is left, and while another one is
hungry exactly what is needed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from gateway.policy.exchange import HUNGER_S, NO_PERIOD, Grant, Line
from gateway.policy.window import Window, window

SHARE: Final = 4
"""A grant beyond the need is at most this part of an equal share of what is left."""
FULL: Final = -1.0
"""The level of a bucket nobody has taken from."""


class Lease(msgspec.Struct):
    """What one worker holds of one counter."""

    held: int = 0
    acked: int = 0
    """The hunger up to which it has given back what it did not use."""
    hungry: int = 0
    """Its own hunger's number; 0: it lacks nothing."""
    until: float = 0.0
    """When that hunger is forgotten, by the store's clock."""


class Tally(msgspec.Struct):
    """One counter in one window."""

    settled: int = 0
    unknown: int = 0
    level: float = FULL
    at: float = 0.0
    """When the level was so high."""
    hunger: int = 0
    """The number of the last one."""
    leases: dict[str, Lease] = {}

    @property
    def leased(self) -> int:
        return sum(lease.held for lease in self.leases.values())


def period_of(line: Line, clock_s: float) -> Window:
    """The window that an ask is answered from."""
    return window(line.span, clock_s) if line.span is not None else Window(NO_PERIOD, 0, 0)


def report(tally: Tally, worker: str, line: Line, clock_s: float) -> None:
    """Takes in what became of the worker's lease."""
    if line.kind == "rate":
        _refill(tally, line, clock_s)
    lease = tally.leases.setdefault(worker, Lease())
    gone = line.returned if line.kind == "slots" else line.settled + line.returned
    lease.held = max(0, lease.held - gone)
    if line.claim >= 0:
        lease.held = line.claim
    lease.acked = max(lease.acked, line.yielded)
    if line.kind == "quota":
        tally.settled += line.settled
        tally.unknown += line.unknown
    elif line.kind == "rate":
        tally.level = max(0.0, min(line.amount - tally.leased, tally.level + line.returned + line.credit))


def grant(tally: Tally, worker: str, line: Line, clock_s: float, alive: Collection[str], at: Window) -> Grant:
    """Answers what the line asks for, and writes it down. `at`: `period_of` the line."""
    if line.kind == "rate":
        _refill(tally, line, clock_s)
        free = int(tally.level)
    elif line.kind == "slots":
        free = line.amount - tally.leased
    else:
        free = line.amount - tally.settled - tally.leased
    lease = tally.leases.setdefault(worker, Lease())
    if free < line.need:
        final = _is_final(tally, worker, lease, clock_s, alive)
        lacking = line.need - tally.level
        retry_s = lacking / line.per_s if line.kind == "rate" else 0.0
        return Grant(line.counter, at.period, at.end_s, 0, max(0, free), final, retry_s)
    others_hungry = any(
        other.until > clock_s for name, other in tally.leases.items() if name != worker and other.hungry
    )
    fair = 0 if others_hungry else free // (SHARE * max(1, len(alive)))
    amount = max(line.need, min(line.want, fair))
    lease.held += amount
    lease.hungry = 0
    if line.kind == "rate":
        tally.level -= amount
    return Grant(line.counter, at.period, at.end_s, amount, free - amount, False, 0.0)


def wanted(tally: Tally, worker: str, clock_s: float) -> int:
    """The hunger for which this worker should give back what it does not use; 0: none."""
    own = tally.leases.get(worker)
    if own is None or not own.held:
        return 0
    hungers = [
        lease.hungry for name, lease in tally.leases.items() if name != worker and lease.until > clock_s
    ]
    most = max(hungers, default=0)
    return most if most > own.acked else 0


def _is_final(tally: Tally, worker: str, lease: Lease, clock_s: float, alive: Collection[str]) -> bool:
    """Notes the hunger. True: nobody alive could still give something back."""
    if not lease.hungry or lease.until <= clock_s:
        # Of the clock: a number that was heard of before its row was forgotten is below all that come later.
        tally.hunger = max(tally.hunger + 1, int(clock_s))
        lease.hungry = tally.hunger
    lease.until = clock_s + HUNGER_S
    for name, other in tally.leases.items():
        if name != worker and name in alive and other.held and other.acked < lease.hungry:
            return False
    lease.hungry, lease.until = (
        0,
        0.0,
    )  # the next one is a new hunger: by then others may hold something again
    return True


def _refill(tally: Tally, line: Line, clock_s: float) -> None:
    most = float(line.amount - tally.leased)
    if tally.level < 0:
        tally.level = most
    else:
        tally.level += max(0.0, clock_s - tally.at) * line.per_s
    tally.level = max(0.0, min(most, tally.level))
    tally.at = max(tally.at, clock_s)
