"""The server: listens, counts, sweeps, drains. What happens on one connection is in connection.py."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

from gateway.config import HttpLimits, Timeouts
from gateway.net.addresses import BACKLOG, cannot_listen
from gateway.net.connection import Connection
from gateway.net.exchange import Exchange, Handler
from gateway.net.sweep import sweep_of
from gateway.wire import framing
from gateway.wire.errors import Refused

__all__ = ["Exchange", "Handler", "Refused", "Server"]

OnRefused = Callable[[str, Refused, str], None]
OnError = Callable[[Exchange, Exception], None]
OnLeft = Callable[[Exchange], None]

ACCEPTED_AT_ONCE: Final = 8
"""Connections taken in one round of the loop: who comes behind a thousand does not wait as many."""
QUIET_S: Final = 1.0
"""While draining, so long without a request means that nothing is left."""
CUT_S: Final = 1.0
"""What a cut handler may still take to end its stream with an error event."""
POLL_S: Final = 0.02


class Server:
    """HTTP/1.1 for one handler: one coroutine a request."""

    def __init__(
        self,
        handler: Handler,
        http: HttpLimits,
        timeouts: Timeouts,
        on_refused: OnRefused | None = None,
        on_error: OnError | None = None,
        on_left: OnLeft | None = None,
    ) -> None:
        self.handler = handler
        self.http = http
        self.timeouts = timeouts
        self.on_refused: OnRefused = on_refused or _ignore
        """Called with the peer, the refusal, the request's id; never for what the handler answered itself."""
        self.on_error: OnError = on_error or _print_error
        self.on_left: OnLeft = on_left or _let_go
        """Called for a request that ended before the handler's first step: nobody else has heard of it."""
        self.draining = False
        self.hurried = False
        """Drain no longer: what is under way is cut."""
        self.active = 0
        """Requests under way."""
        self.port = 0
        self.date = framing.date_line(time.time())
        self.loop: asyncio.AbstractEventLoop
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._last_seen = 0.0

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError that says what could not be listened on, and why. Port 0: any free one: `port`."""
        self.loop = asyncio.get_running_loop()
        try:
            server = await self.loop.create_server(self._connection, host, port, backlog=BACKLOG)
        except OSError as error:
            raise cannot_listen(host, port, error) from None
        self.port = _sockets(server)[0].getsockname()[1]
        await self._accept_in_bursts(server)

    async def take_over(self, listeners: Iterable[socket.socket]) -> None:
        """Listens on sockets that listen already: somebody else holds the port."""
        self.loop = asyncio.get_running_loop()
        for listener in listeners:
            server = await self.loop.create_server(self._connection, sock=listener, backlog=BACKLOG)
            self.port = listener.getsockname()[1]
            await self._accept_in_bursts(server)

    async def _accept_in_bursts(self, server: asyncio.Server) -> None:
        """A round of the loop can be long, and uvloop accepts one connection a listener in each."""
        self._servers.append(server)
        for listening in _sockets(server):
            for _ in range(ACCEPTED_AT_ONCE - 1):
                again = socket.fromfd(listening.fileno(), listening.family, listening.type)
                more = await self.loop.create_server(self._connection, sock=again, backlog=BACKLOG)
                self._servers.append(more)

    def reconfigure(self, http: HttpLimits, timeouts: Timeouts) -> None:
        """Limits hold for new connections, time-outs for new requests."""
        self.http = http
        self.timeouts = timeouts

    async def drain(self, limit_s: float, together: Callable[[bool], bool] | None = None) -> int:
        """Serves on until nothing is left or the limit is reached, then stops. Returns how many were cut.

        New requests are served and told `connection: close`; idle connections stay until QUIET_S passed
        without a request, because closing one crosses with the request its client may just be sending.
        `together`: is told whether nothing is left here, and says whether nothing is left anywhere else.
        """
        self.draining = True
        self._last_seen = started = self.loop.time()
        quiet_s = min(QUIET_S, limit_s / 4)
        while (now := self.loop.time()) - started < limit_s and not self.hurried:
            quiet = not self.active and now - self._last_seen >= quiet_s
            if (together is None or together(quiet)) and quiet:
                break
            await asyncio.sleep(POLL_S)
        for server in self._servers:
            server.close()
        cut = self.active
        await self._cut()
        for connection in tuple(self._connections):
            connection.close_idle()
        await self._until(lambda: not self._connections, CUT_S)
        for connection in tuple(self._connections):
            connection.abort()
        await self._until(lambda: not self._connections, CUT_S)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        sweep_of(self.loop).discard(self)
        return cut

    async def close(self) -> None:
        """Stops at once. What is under way is cut."""
        await self.drain(0)

    def sweep(self, now: float) -> bool:
        self.date = framing.date_line(time.time())
        for connection in tuple(self._connections):
            connection.sweep(now)
        return bool(self._connections)

    async def _cut(self) -> None:
        if not self.active:
            return
        for connection in tuple(self._connections):
            connection.cut()
        await self._until(lambda: not self.active, CUT_S)

    async def _until(self, done: Callable[[], bool], limit_s: float) -> None:
        end = self.loop.time() + limit_s
        while not done() and self.loop.time() < end:  # noqa: ASYNC110 - a stop is rare: no event a request for it
            await asyncio.sleep(POLL_S / 4)

    def _connection(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", Connection(self))

    # Called by connections.

    def opened(self, connection: Connection) -> bool:
        """False: there are too many already."""
        if not self._connections:
            self.date = framing.date_line(time.time())
            sweep_of(self.loop).add(self)
        self._connections.add(connection)
        self._last_seen = self.loop.time()
        return len(self._connections) <= self.http.connections

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def begun(self) -> None:
        self.active += 1

    def ended(self) -> None:
        self.active -= 1
        if self.draining:
            self._last_seen = self.loop.time()

    @staticmethod
    def wall_ms() -> int:
        return time.time_ns() // 1_000_000


def _sockets(server: Any) -> Sequence[socket.socket]:
    """A tuple of asyncio's, a list of uvloop's."""
    sockets: Sequence[socket.socket] = server.sockets
    return sockets


def _ignore(peer: str, refused: Refused, request_id: str) -> None:
    pass


def _let_go(exchange: Exchange) -> None:
    pass


def _print_error(exchange: Exchange, error: Exception) -> None:
    print(f"{exchange.id}: the handler failed", file=sys.stderr)  # noqa: T201 - only where no log was given
    traceback.print_exception(error)
