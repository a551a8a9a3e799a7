"""A worker's way to the other workers of its gateway: everything goes through the parent.

What a worker is told when it starts is a `Post`; what it says and hears afterwards goes over its `Link`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.config import Config
from gateway.metrics import Snapshot
from gateway.settings import Settings, Sources, settings_of
from gateway.workers import shares, sums
from gateway.workers.channel import Channel, Facts, FailedError

GATHER_S: Final = 3.0
"""For what all workers say; the parent waits for each of them a little less."""
AGREE_S: Final = 15.0
"""For all workers to have done something, a look at a backend included."""

Doings = dict[str, Callable[..., Any]]
"""What the parent may ask a worker for or tell it to do: name -> what does it, given the message's facts."""


class NotAgreedError(Exception):
    """Not all workers have done it; the message says which."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is told when it starts."""

    number: int
    """0, 1, 2... A worker that is started again has the number of the one before it."""
    workers: int
    restarted: bool
    created: float
    """When the gateway started, in seconds since 1970."""
    sources: Sources
    refused: str
    """Why the last reload was refused; empty: it was not."""
    drained: tuple[str, ...]
    """Backends that an operator wants no requests at."""
    channel: int
    listeners: tuple[int, ...]
    """Open files: sockets that listen."""
    log_lock: int
    """An open file to lock while writing to stdout; -1: none."""

    def sockets(self) -> list[socket.socket]:
        return [socket.socket(fileno=fd) for fd in self.listeners]


def sources_to_wire(sources: Sources) -> Facts:
    return {"file": sources.file, "config": msgspec.to_builtins(sources.config), "env": dict(sources.env)}


def sources_from_wire(facts: Facts) -> Sources:
    return Sources(facts["file"], msgspec.convert(facts["config"], Config), facts["env"])


class Link:
    """Of one worker. `doings` are what it does when the parent says so."""

    def __init__(self, post: Post) -> None:
        self.number = post.number
        self.workers = post.workers
        self.doings: Doings = {}
        self.warnings = shares.warnings(post.sources.config, post.workers)
        """Of what dividing the configuration does."""
        self.over = False
        """Nothing is left at any worker: the stop may end."""
        self.post = post
        self._quiet = False
        self.lost: Callable[[], None] = lambda: None
        """Called when the parent has ended."""
        self._channel = Channel(self._hear, self._hung_up)

    def settings_of(self, sources: Sources, environ: Mapping[str, str]) -> Settings:
        """The worker's share of what the files say, which the parent has found good."""
        self.warnings = shares.warnings(sources.config, self.workers)
        return settings_of(sources, environ, lambda config: shares.divided(config, self.number, self.workers))

    async def open(self) -> None:
        end = socket.socket(fileno=self.post.channel)
        await asyncio.get_running_loop().create_unix_connection(lambda: self._channel, sock=end)

    def ready(self) -> None:
        """It accepts connections."""
        self._channel.tell("ready")

    def push(self, snapshot: Snapshot, tallies: Facts) -> None:
        """What is to stay of it, should it end now."""
        self._channel.tell("push", value=report(snapshot, tallies))

    def quiet(self, quiet: bool) -> bool:
        """Is nothing left here? Whether nothing is left anywhere."""
        if quiet != self._quiet:
            self._quiet = quiet
            self._channel.tell("quiet", quiet=quiet)
        return self.over

    async def total(self, snapshot: Snapshot, tallies: Facts) -> Snapshot:
        """The numbers of all workers, the ended ones too; `snapshot`: one's own. Raises FailedError."""
        found = await self._ask("total", GATHER_S, value=report(snapshot, tallies))
        return sums.from_wire(found)

    async def documents(self, own: Facts) -> Facts:
        """`detailed` of each worker, by number; of those too that are no more, what they had counted.

        Raises FailedError.
        """
        found: Facts = await self._ask("documents", GATHER_S, value=own)
        return found

    async def story(self, request_id: str) -> Facts | None:
        """Of another worker's call. None: nobody has it. Raises FailedError."""
        found: Facts | None = await self._ask("story", GATHER_S, request_id=request_id)
        return found

    async def set_drained(self, backend_id: str, *, drained: bool) -> None:
        """At all workers, those too that start later. Raises NotAgreedError, FailedError."""
        missing = await self._ask("drain", AGREE_S, backend=backend_id, drained=drained)
        if missing:
            names = ", ".join(map(str, missing))
            raise NotAgreedError(f"worker {names} has not answered within its time; the others have done it")

    async def all_do(self, what: str, least: int) -> tuple[list[int], list[int]]:
        """Numbers of those that serve: who has done it and come to `least`, and who has not in time.

        Raises FailedError.
        """
        found = await self._ask("all_do", AGREE_S, what=what, least=least)
        return found["done"], found["late"]

    async def reload(self) -> Facts:
        """`problems` for which it was refused, and backends that are `gone`. Raises FailedError."""
        found: Facts = await self._ask("reload", AGREE_S)
        return found

    async def _ask(self, op: str, limit_s: float, **facts: Any) -> Any:
        try:
            return await self._channel.ask(op, limit_s, **facts)
        except TimeoutError:
            raise FailedError("the gateway's parent process does not answer") from None

    def _hung_up(self) -> None:
        self.lost()

    def _hear(self, op: str, facts: Facts) -> Any:
        if op == "over":
            self.over = True
            return None
        return self.doings[op](**facts)


def report(snapshot: Snapshot, tallies: Facts) -> Facts:
    return {"numbers": sums.to_wire(snapshot), "tallies": tallies}
