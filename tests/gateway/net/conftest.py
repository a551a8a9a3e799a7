"""Real loopback servers and clients, on uvloop, one loop a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from gateway.config import HttpLimits, Timeouts, Upstream
from gateway.net.pool import Pool
from gateway.net.server import Handler, Server

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Tools:
    """What the tests of this room share."""

    @staticmethod
    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await main()

        uvloop.run(bounded())

    @staticmethod
    async def until(done: Callable[[], bool], limit_s: float = 5.0) -> float:
        """Polls for an event; returns the seconds it took."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        while not done():
            assert loop.time() - start < limit_s, "it did not happen in time"
            await asyncio.sleep(0.005)
        return loop.time() - start

    @staticmethod
    @asynccontextmanager
    async def server(
        handler: Handler, http: HttpLimits | None = None, timeouts: Timeouts | None = None, **more: Any
    ) -> AsyncIterator[Server]:
        found = Server(handler, http or HttpLimits(), timeouts or Timeouts(), **more)
        await found.listen("127.0.0.1", 0)
        try:
            yield found
        finally:
            await found.close()

    @staticmethod
    @asynccontextmanager
    async def backend(script: Script) -> AsyncIterator[Backend]:
        found = Backend(script)
        await found.start()
        try:
            yield found
        finally:
            await found.stop()

    @staticmethod
    @asynccontextmanager
    async def pool(
        port: int, upstream: Upstream | None = None, timeouts: Timeouts | None = None
    ) -> AsyncIterator[Pool]:
        found = Pool("127.0.0.1", port, upstream or Upstream(), timeouts or Timeouts())
        try:
            yield found
        finally:
            await found.close()

    @staticmethod
    @asynccontextmanager
    async def client(
        port: int, limit: int = 1 << 16
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


class Backend:
    """A scripted peer: the script plays once a connection. `accepted` and `gone` count its connections."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.accepted = 0
        self.gone = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            await self.script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.gone += 1
            writer.close()

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
def net() -> type[Tools]:
    return Tools
