"""One exchange, step by step, over any rows that can be read and written in one transaction.

SQLite and the tests' store in memory use it; Redis does the same in Lua (`redis_script`), and one suite holds
all of them to the same answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

from gateway.policy import book
from gateway.policy.book import Tally
from gateway.policy.exchange import Answer, Exchange, Grant, Use, Wanted


class Worker(msgspec.Struct):
    """What the store knows of one."""

    seq: int = 0
    answer: bytes = b""
    """To the exchange `seq`, as it was sent."""
    dead: bool = False


class Rows(Protocol):
    """Within one transaction."""

    def worker(self, name: str) -> Worker | None: ...
    def save_worker(self, name: str, seq: int, answer: bytes, clock_s: float, *, leaving: bool) -> None: ...
    def bury(self, clock_s: float) -> None:
        """Takes workers not heard of for DEAD_S for dead, and frees what they held of rates and slots."""

    def alive(self) -> Collection[str]: ...
    def tally(self, counter: str, period: str) -> Tally: ...
    def save(self, counter: str, period: str, tally: Tally, worker: str) -> None:
        """The counter, and the lease of `worker` alone: no other has changed."""

    def held_by(self, worker: str) -> Iterable[tuple[str, str]]:
        """Counters and periods of which it holds something and others are hungry."""

    def add_uses(self, uses: Iterable[Use]) -> None: ...


def exchange(rows: Rows, given: Exchange, clock_s: float) -> bytes:
    """The encoded Answer. `clock_s`: guarded, never less than before."""
    known = rows.worker(given.worker)
    if known is not None and known.seq == given.seq:
        return known.answer
    rows.bury(clock_s)
    known = rows.worker(given.worker)
    revived = known.dead if known is not None else given.seq > 1
    alive = {*rows.alive(), given.worker}
    grants: list[Grant] = []
    for line in given.lines:
        if line.kind != "quota" or line.period:  # else the lease is still to be opened
            tally = rows.tally(line.counter, line.period)
            book.report(tally, given.worker, line, clock_s)
            rows.save(line.counter, line.period, tally, given.worker)
        if not line.need:
            continue
        at = book.period_of(line, clock_s)
        tally = rows.tally(line.counter, at.period)
        grants.append(book.grant(tally, given.worker, line, clock_s, alive, at))
        rows.save(line.counter, at.period, tally, given.worker)
    rows.add_uses(given.uses)
    answer = Answer(
        given.seq,
        clock_s,
        tuple(grants),
        wanted(rows, given.worker, clock_s),
        len(alive),
        revived,
    )
    encoded = msgspec.json.encode(answer)
    rows.save_worker(given.worker, given.seq, encoded, clock_s, leaving=given.leaving)
    return encoded


def wanted(rows: Rows, worker: str, clock_s: float) -> tuple[Wanted, ...]:
    """What others lack of what this worker holds."""
    found = []
    for counter, period in rows.held_by(worker):
        generation = book.wanted(rows.tally(counter, period), worker, clock_s)
        if generation:
            found.append(Wanted(counter, period, generation))
    return tuple(found)
