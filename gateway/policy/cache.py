"""Answers kept for a while, and who fetches one that is missing. Time is an argument, no I/O.

    asked for                 found                  asked
    kept, not too old         Hit                    the answer; it is the youngest again
    not kept, nobody fetches  Lead                   fetches it, and says `landed` whatever happens
    not kept, being fetched   Follow                 waits for the one who leads

    the leader                its followers
    has the answer            get it
    has none                  each ask for themselves: what failed once is not to fail them one by one
    left                      ask again; the first of them leads

Rule 1: never more than `memory_bytes` and `entries`: what was not asked for the longest goes first.
Rule 2: what is larger than a sixteenth of all is not kept: it would push out too much.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from gateway.config import Cache as Rules

Key = tuple[str, str, bytes]
"""Whose it is (empty: everybody's), the model, the digest of the call."""

OVERHEAD_BYTES: Final = 400
"""Of an entry, beside its answer: key, times, the place in the order."""
LARGEST: Final = 1 / 16


class Answer(msgspec.Struct, frozen=True):
    lines: bytes
    """Headers, ready."""
    body: bytes

    @property
    def size(self) -> int:
        return len(self.lines) + len(self.body) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Hit:
    answer: Answer


@dataclass(frozen=True, slots=True)
class Lead:
    flight: Flight


@dataclass(frozen=True, slots=True)
class Follow:
    flight: Flight


End = Literal["open", "answered", "failed", "left"]


class Flight:
    """One answer that is being fetched."""

    __slots__ = ("answer", "end", "key", "waiting")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.end: End = "open"
        self.answer: Answer | None = None
        self.waiting: list[Callable[[], None]] = []
        """Called once, when it ends."""


class Cache:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.bytes = 0
        self.evicted = 0
        """For want of room, ever."""
        self._kept: OrderedDict[Key, tuple[float, Answer]] = OrderedDict()
        """When it was fetched, and the answer; the one asked for last stands last."""
        self._flights: dict[Key, Flight] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def ask(self, key: Key, now: float) -> Hit | Lead | Follow:
        kept = self._kept.get(key)
        if kept is not None:
            if now - kept[0] < self.rules.ttl_s:
                self._kept.move_to_end(key)
                return Hit(kept[1])
            self._drop(key)
        flight = self._flights.get(key)
        if flight is not None:
            return Follow(flight)
        flight = self._flights[key] = Flight(key)
        return Lead(flight)

    def landed(self, flight: Flight, end: Literal["answered", "failed", "left"], now: float) -> None:
        """The leader's end. Idempotent: the first one counts. `flight.answer` is kept, if it was answered."""
        if flight.end != "open":
            return
        flight.end = end
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
            if end == "answered" and flight.answer is not None:
                self._keep(flight.key, flight.answer, now)
        for wake in tuple(flight.waiting):
            wake()

    def configure(self, rules: Rules) -> None:
        self.rules = rules
        self._make_room()

    def clear(self) -> None:
        """What is kept is no longer true; nor is what is on its way."""
        self._kept.clear()
        self._flights.clear()
        self.bytes = 0

    def _keep(self, key: Key, answer: Answer, now: float) -> None:
        if answer.size > self.rules.memory_bytes * LARGEST:
            return
        self._drop(key)
        self._kept[key] = now, answer
        self.bytes += answer.size
        self._make_room()

    def _make_room(self) -> None:
        while self.bytes > self.rules.memory_bytes or len(self._kept) > self.rules.entries:
            self._drop(next(iter(self._kept)))
            self.evicted += 1

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= kept[1].size
