"""What pools share: all their connections together, and all their idle ones together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.config import Timeouts, Upstream
from gateway.net.budget import Budget
from gateway.net.pool import Pool, UpstreamFailed

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


@asynccontextmanager
async def two_pools(net: Any, upstream: Upstream) -> AsyncIterator[tuple[Pool, Pool, Budget]]:
    budget = Budget()
    async with net.backend(answers) as one, net.backend(answers) as other:
        pools = [Pool("127.0.0.1", each.port, upstream, Timeouts(), budget) for each in (one, other)]
        try:
            yield pools[0], pools[1], budget
        finally:
            for pool in pools:
                await pool.close()
            await net.until(lambda: budget.open == 0)
            assert (budget.idle, budget.members) == (0, set())


async def fetch(pool: Pool) -> bytes:
    reply = await pool.send(GET)
    try:
        return await reply.read_all(100)
    finally:
        reply.close()


def test_connections_are_bounded_over_all_backends(net) -> None:
    async def main() -> None:
        async with two_pools(net, Upstream(connections=2)) as (one, other, budget):
            held = await one.send(GET), await other.send(GET)
            for pool in (one, other):
                with pytest.raises(UpstreamFailed, match="all 2 connections to backends are in use"):
                    await pool.send(GET)
            assert budget.open == 2
            held[0].close()
            await net.until(lambda: budget.open == 1)
            assert await fetch(other) == b"ok"
            held[1].close()

    net.run(main)


def test_an_idle_connection_makes_way_for_another_backends(net) -> None:
    async def main() -> None:
        async with two_pools(net, Upstream(connections=1)) as (one, other, budget):
            for pool, idle in ((one, (1, 0)), (other, (0, 1)), (one, (1, 0))):
                assert await fetch(pool) == b"ok"
                assert (one.idle, other.idle) == idle
                assert (budget.open, budget.idle) == (1, 1)

    net.run(main)


def test_idle_connections_are_bounded_over_all_backends(net) -> None:
    async def main() -> None:
        async with two_pools(net, Upstream(keep_alive=3)) as (one, other, budget):
            await asyncio.gather(*(fetch(pool) for pool in (one, other) * 4))
            assert one.idle + other.idle == budget.idle == 3
            await net.until(lambda: budget.open == 3)
            assert await fetch(one) == b"ok"
            assert budget.idle == 3

    net.run(main)


def test_a_backend_that_is_not_there_uses_nothing_up(net) -> None:
    async def main() -> None:
        budget = Budget()
        pool = Pool("127.0.0.1", 1, Upstream(connections=1), Timeouts(), budget)
        for _ in range(3):
            with pytest.raises(UpstreamFailed, match="refused"):
                await pool.send(GET)
        assert budget.open == 0
        await pool.close()

    net.run(main)
