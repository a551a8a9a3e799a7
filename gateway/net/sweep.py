"""All time-outs of all connections: one timer every 0.5 s, none a request.

What a connection waits for, and for how long, is data; time is an argument.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from gateway.config import Timeouts

INTERVAL_S: Final = 0.5
LINGER_S: Final = 2.0
"""How long a refused client may take to read why."""


class Wait(enum.Enum):
    """What a connection is waiting for."""

    NOTHING = enum.auto()
    FIRST = enum.auto()
    """A new client's first byte."""
    HEAD = enum.auto()
    """The rest of a head."""
    BODY = enum.auto()
    """The next piece of a request's body."""
    IDLE = enum.auto()
    """A client's next request."""
    WRITE = enum.auto()
    """The other side to read what was sent."""
    LINGER = enum.auto()
    """A refused client to read the answer and go."""
    PIECE = enum.auto()
    """The next piece of a reply."""
    POOLED = enum.auto()
    """An idle connection to a backend."""


def limit_s(wait: Wait, timeouts: Timeouts, pooled_s: float) -> float:
    """Seconds that a connection may wait so."""
    match wait:
        case Wait.FIRST | Wait.HEAD:
            return timeouts.header_s
        case Wait.BODY:
            return timeouts.body_idle_s
        case Wait.IDLE:
            return timeouts.keep_alive_s
        case Wait.WRITE | Wait.PIECE:
            return timeouts.stream_idle_s
        case Wait.LINGER:
            return LINGER_S
        case Wait.POOLED:
            return pooled_s
        case Wait.NOTHING:
            return float("inf")


def overdue(wait: Wait, since: float, now: float, timeouts: Timeouts, pooled_s: float = 4.0) -> bool:
    """Has it waited longer than it may? Times are of the loop's clock."""
    return now - since >= limit_s(wait, timeouts, pooled_s)


class Swept(Protocol):
    def sweep(self, now: float) -> bool:
        """Act on what is overdue. False: there is nothing to watch any more."""


class Sweep:
    """The timer of one loop. It runs only while there is somebody to sweep."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._members: set[Swept] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: Swept) -> None:
        self._members.add(member)
        if self._timer is None:
            self._timer = self._loop.call_later(INTERVAL_S, self._tick)

    def discard(self, member: Swept) -> None:
        self._members.discard(member)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        try:
            for member in tuple(self._members):
                if not member.sweep(now):
                    self._members.discard(member)
        finally:  # a fault in one member must not end all time-outs
            if self._members:
                self._timer = self._loop.call_later(INTERVAL_S, self._tick)


_sweeps: WeakKeyDictionary[asyncio.AbstractEventLoop, Sweep] = WeakKeyDictionary()


def sweep_of(loop: asyncio.AbstractEventLoop) -> Sweep:
    """The one sweep of this loop."""
    found = _sweeps.get(loop)
    if found is None:
        found = _sweeps[loop] = Sweep(loop)
    return found
