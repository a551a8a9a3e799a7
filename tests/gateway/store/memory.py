"""A store in memory: the rows of `steps`, as plain dictionaries. What it believes can be looked at."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable

import msgspec

from gateway.policy.book import Tally
from gateway.policy.exchange import DEAD_S, NO_PERIOD, Answer, Exchange, Use, Wanted
from gateway.policy.window import Guard
from gateway.store import steps
from gateway.store.sqlite import BURY_S
from gateway.store.steps import Worker


class Memory:
    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str], Tally] = {}
        self.workers: dict[str, Worker] = {}
        self.seen: dict[str, float] = {}
        self.uses: list[Use] = []
        self.guard = Guard()
        self.buried_s = 0.0

    def exchange(self, given: Exchange, clock_s: float) -> Answer:
        encoded = steps.exchange(self, given, self.guard.read(clock_s))
        return msgspec.json.decode(encoded, type=Answer)

    def wanted(self, worker: str, clock_s: float) -> tuple[Wanted, ...]:
        return steps.wanted(self, worker, self.guard.read(clock_s))

    def worker(self, name: str) -> Worker | None:
        return copy.copy(self.workers.get(name))

    def save_worker(self, name: str, seq: int, answer: bytes, clock_s: float, *, leaving: bool) -> None:
        self.workers[name] = Worker(seq, answer, dead=leaving)
        self.seen[name] = clock_s

    def bury(self, clock_s: float) -> None:
        if clock_s - self.buried_s < BURY_S:
            return
        self.buried_s = clock_s
        for name, worker in self.workers.items():
            if not worker.dead and self.seen[name] < clock_s - DEAD_S:
                worker.dead = True
                for (_, period), tally in self.tallies.items():
                    if period == NO_PERIOD:
                        tally.leases.pop(name, None)

    def alive(self) -> Collection[str]:
        return {name for name, worker in self.workers.items() if not worker.dead}

    def tally(self, counter: str, period: str) -> Tally:
        return copy.deepcopy(self.tallies.get((counter, period), Tally()))

    def save(self, counter: str, period: str, tally: Tally, worker: str) -> None:
        self.tallies[counter, period] = copy.deepcopy(tally)

    def held_by(self, worker: str) -> Iterable[tuple[str, str]]:
        return [key for key, tally in self.tallies.items() if worker in tally.leases]

    def add_uses(self, uses: Iterable[Use]) -> None:
        self.uses += uses
