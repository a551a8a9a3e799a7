"""Clients that hold what others need: those that pipeline and leave, those that drip a body for ever."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from gateway.config import HttpLimits, Timeouts
from gateway.net.server import Exchange, Server

POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000\r\n\r\n" + b"a" * 10_000


@pytest.mark.parametrize("leave", ["close", "abort"])
def test_a_client_that_leaves_is_noticed_though_nothing_more_of_it_is_read(net, leave: str) -> None:
    """It has pipelined more than is held, so that its end cannot be read: the sweep asks for it."""
    gone: list[float] = []

    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            gone.append(time.monotonic())
            raise

    async def main() -> None:
        server = Server(handler, HttpLimits(), Timeouts())
        await server.listen("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST * 20)
        await net.until(lambda: any(not each._reading for each in server._connections))
        left_at = time.monotonic()
        if leave == "close":
            writer.close()
        else:
            writer.transport.abort()
        await net.until(lambda: bool(gone))
        await server.close()
        assert gone[0] - left_at < 1

    net.run(main)


def test_a_body_that_drips_is_refused_when_the_requests_whole_time_is_over(net) -> None:
    """No pause is too long, yet it would never end."""

    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, b"", await exchange.body())

    async def main() -> None:
        server = Server(handler, HttpLimits(), Timeouts(body_idle_s=5.0, total_s=1.0))
        await server.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST[:-9000])
        answer: asyncio.Task[bytes] = asyncio.ensure_future(reader.readuntil(b"}}"))
        for _ in range(60):
            if answer.done():
                break
            writer.write(b"a")
            await asyncio.sleep(0.05)
        assert answer.done()
        got = await answer
        writer.close()
        await server.close()
        assert got.startswith(b"HTTP/1.1 408 ")
        error: dict[str, Any] = json.loads(got.partition(b"\r\n\r\n")[2])
        assert error["error"]["code"] == "request_timeout"

    net.run(main)
