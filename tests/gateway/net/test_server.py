"""The server over loopback sockets: answers, cancellation, backpressure, limits, drain."""

# ruff: noqa: SIM117 - a server, then a client of it, read best as two steps

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest

from gateway.config import HttpLimits, Timeouts
from gateway.net.exchange import new_id
from gateway.net.server import Exchange, Refused, Server

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
GET10 = b"GET / HTTP/1.0\r\n\r\n"


async def hello(exchange: Exchange) -> None:
    await exchange.body()
    exchange.respond(200, b"content-type: text/plain\r\n", b"hello")


async def answer(net: Any, port: int, data: bytes) -> bytes:
    """Everything until the server closes."""
    async with net.client(port) as (reader, writer):
        writer.write(data)
        return await reader.read()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def closing(data: bytes) -> bytes:
    return data.replace(b"host: a", b"host: a\r\nconnection: close")


def test_ids_sort_by_time_and_differ() -> None:
    ids = [new_id(ms) for ms in range(1_700_000_000_000, 1_700_000_000_200)]
    assert ids == sorted(ids)
    assert len({new_id(1) for _ in range(10_000)}) == 10_000
    assert all(one.startswith("req_") and len(one) == 32 for one in ids)


def test_a_plain_answer_is_complete(net) -> None:
    async def main() -> None:
        async with net.server(hello) as server:
            head, _, body = (await answer(net, server.port, closing(GET))).partition(b"\r\n\r\n")
            assert body == b"hello"
            lines = head.lower().split(b"\r\n")
            assert b"content-length: 5" in lines
            assert b"connection: close" in lines
            assert sum(line.startswith(b"x-request-id: req_") for line in lines) == 1
            assert sum(line.startswith(b"date: ") for line in lines) == 1

    net.run(main)


def test_an_answer_to_head_has_the_length_and_no_body(net) -> None:
    async def main() -> None:
        async with net.server(hello) as server:
            got = await answer(net, server.port, closing(GET.replace(b"GET", b"HEAD")))
            assert b"content-length: 5\r\n" in got
            assert got.endswith(b"\r\n\r\n")

    net.run(main)


def test_204_has_neither_length_nor_body(net) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(204, b"", b"ignored")

    async def main() -> None:
        async with net.server(handler) as server:
            got = await answer(net, server.port, closing(GET))
            assert b"content-length" not in got
            assert got.endswith(b"\r\n\r\n")

    net.run(main)


async def stream(exchange: Exchange) -> None:
    exchange.start(200, b"", None)
    for piece in (b"one", b"", b"three"):
        exchange.write(piece)
        await exchange.drain()
    exchange.end()
    assert exchange.bytes_sent == 8


def test_a_stream_is_chunked_for_http_1_1(net) -> None:
    async def main() -> None:
        async with net.server(stream) as server:
            got = await answer(net, server.port, closing(GET))
            assert got.endswith(b"\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")

    net.run(main)


def test_a_stream_is_close_delimited_for_http_1_0(net) -> None:
    async def main() -> None:
        async with net.server(stream) as server:
            got = await answer(
                net, server.port, GET10.replace(b"\r\n\r\n", b"\r\nconnection: keep-alive\r\n\r\n")
            )
            assert b"chunked" not in got
            assert b"connection: close\r\n" in got
            assert got.endswith(b"\r\n\r\nonethree")

    net.run(main)


@pytest.mark.parametrize(
    ("request_", "length", "wanted"),
    [
        (GET, None, b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"),
        (GET, 11, b"\r\n\r\nonetwothree"),
        (GET10, None, b"\r\n\r\nonetwothree"),
        (GET.replace(b"GET", b"HEAD"), None, b"transfer-encoding: chunked\r\n\r\n"),
    ],
)
def test_the_first_piece_leaves_with_the_head_and_the_last_with_the_end(
    net, request_: bytes, length: int | None, wanted: bytes
) -> None:
    sent = []

    async def handler(exchange: Exchange) -> None:
        exchange.start(200, b"", length, b"one")
        exchange.write(b"two")
        exchange.end(b"three")
        sent.append(exchange.bytes_sent)

    async def main() -> None:
        async with net.server(handler) as server:
            got = await answer(net, server.port, closing(request_))
            assert got.endswith(wanted)
            assert sent == [0 if request_.startswith(b"HEAD") else 11]

    net.run(main)


def test_a_body_shorter_than_promised_is_cut_not_ended(net) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, b"", 10)
        exchange.write(b"hello")
        exchange.end()

    async def main() -> None:
        async with net.server(handler) as server, net.client(server.port) as (reader, writer):
            writer.write(GET)
            with contextlib.suppress(ConnectionError):
                assert (await reader.read()).endswith(b"hello")
            await net.until(lambda: server.connections == 0)

    net.run(main)


def test_more_than_promised_is_a_fault_of_the_handler_and_never_leaves(net) -> None:
    errors: list[Exception] = []

    async def handler(exchange: Exchange) -> None:
        exchange.start(200, b"", 3)
        exchange.write(b"hello")

    async def main() -> None:
        async with net.server(handler, on_error=lambda _, error: errors.append(error)) as server:
            async with net.client(server.port) as (reader, writer):
                writer.write(GET)
                with contextlib.suppress(ConnectionError):
                    assert b"hel" not in await reader.read()
                await net.until(lambda: server.connections == 0)
                assert isinstance(errors[0], RuntimeError)

    net.run(main)


def test_a_stream_to_head_is_a_head_only(net) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, b"", None)
        exchange.write(b"hello")
        exchange.end()

    async def main() -> None:
        async with net.server(handler) as server:
            got = await answer(net, server.port, closing(GET.replace(b"GET", b"HEAD")))
            assert got.endswith(b"\r\n\r\n")
            assert got.count(b"\r\n\r\n") == 1

    net.run(main)


def test_a_slow_client_can_still_take_an_answer_whose_connection_closes(net) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, b"", b"a" * 8_000_000)

    async def main() -> None:
        async with net.server(handler, timeouts=Timeouts(stream_idle_s=10)) as server:
            async with net.client(server.port) as (reader, writer):
                writer.write(closing(GET))
                await asyncio.sleep(3.0)  # longer than a refused client may linger
                assert len(await reader.read()) > 8_000_000

    net.run(main)


def test_a_client_that_never_takes_its_last_answer_is_cut(net) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, b"", b"a" * 8_000_000)

    async def main() -> None:
        async with net.server(handler, timeouts=Timeouts(stream_idle_s=0.3)) as server:
            async with net.client(server.port) as (_, writer):
                writer.write(closing(GET))
                await net.until(lambda: server.connections == 1)
                assert await net.until(lambda: server.connections == 0) < 3.0

    net.run(main)


def test_a_handler_that_fails_is_a_500_and_is_reported(net) -> None:
    errors: list[Exception] = []

    async def handler(exchange: Exchange) -> None:
        raise ValueError("secret")

    async def main() -> None:
        async with net.server(handler, on_error=lambda _, error: errors.append(error)) as server:
            got = await answer(net, server.port, closing(GET))
            assert got.startswith(b"HTTP/1.1 500 ")
            assert b"secret" not in got
            assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["code"] == "internal_error"
            assert [str(error) for error in errors] == ["secret"]

    net.run(main)


def test_a_handler_that_fails_in_mid_stream_never_ends_the_stream(net) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, b"", None)
        exchange.write(b"hello")
        await asyncio.sleep(0.05)
        raise ValueError

    async def main() -> None:
        async with (
            net.server(handler, on_error=lambda *_: None) as server,
            net.client(server.port) as (reader, writer),
        ):
            writer.write(GET)
            got = b""
            try:
                while data := await reader.read(1000):
                    got += data
            except ConnectionError:
                pass
            assert b"hello" in got
            assert not got.endswith(b"0\r\n\r\n")

    net.run(main)


def test_a_handler_that_says_nothing_is_a_500(net) -> None:
    async def handler(exchange: Exchange) -> None:
        pass

    async def main() -> None:
        async with net.server(handler) as server:
            assert (await answer(net, server.port, closing(GET))).startswith(b"HTTP/1.1 500 ")

    net.run(main)


def test_a_refusal_that_the_handler_raises_is_answered(net) -> None:
    async def handler(exchange: Exchange) -> None:
        raise Refused(401, "invalid_api_key", "Send a key.", close=False)

    async def main() -> None:
        async with net.server(handler) as server, net.client(server.port) as (reader, writer):
            for _ in range(2):  # and the connection goes on
                writer.write(GET)
                assert (await head_of(reader)).startswith(b"HTTP/1.1 401 ")
                await reader.readuntil(b"}}")

    net.run(main)


@pytest.mark.parametrize("started", [False, True], ids=["waiting", "streaming"])
def test_a_client_that_leaves_cancels_its_handler(net, started: bool) -> None:
    seen: list[str] = []

    async def handler(exchange: Exchange) -> None:
        if started:
            exchange.start(200, b"", None)
            exchange.write(b"a")
        seen.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cut" if exchange.cut else "gone")
            raise

    async def main() -> None:
        async with net.server(handler) as server:
            async with net.client(server.port) as (_, writer):
                writer.write(GET)
                await net.until(lambda: seen == ["begun"])
            assert await net.until(lambda: seen == ["begun", "gone"]) < 1.0
            await net.until(lambda: (server.active, server.connections) == (0, 0))

    net.run(main)


def test_a_client_that_sends_and_leaves_at_once_leaves_nothing_behind(net) -> None:
    async def main() -> None:
        async with net.server(hello) as server:
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(GET)
                writer.transport.abort()
            await net.until(lambda: (server.active, server.connections) == (0, 0))

    net.run(main)


def test_a_reader_that_does_not_read_holds_its_handler_not_the_memory(net) -> None:
    written = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal written
        exchange.start(200, b"", None)
        for _ in range(500):
            exchange.write(b"a" * 100_000)
            written += 100_000
            await exchange.drain()
        exchange.end()

    async def main() -> None:
        async with net.server(handler) as server, net.client(server.port) as (reader, writer):
            writer.write(closing(GET))
            before = -1
            while before != written:
                before = written
                await asyncio.sleep(0.2)
            assert written < 20_000_000
            assert len(await reader.read()) > 50_000_000
            assert written == 50_000_000

    net.run(main)


def test_a_reader_that_never_reads_is_cut_after_the_stream_time_out(net) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, b"", None)
        while True:
            exchange.write(b"a" * 100_000)
            await exchange.drain()

    async def main() -> None:
        async with net.server(handler, timeouts=Timeouts(stream_idle_s=0.3)) as server:
            async with net.client(server.port) as (_, writer):
                writer.write(GET)
                await net.until(lambda: server.active == 1)
                assert await net.until(lambda: server.active == 0) < 2.0

    net.run(main)


def test_a_body_nobody_asks_for_is_not_read(net) -> None:
    asked = asyncio.Event()
    lengths: list[int] = []

    async def handler(exchange: Exchange) -> None:
        await asked.wait()
        held = exchange.bytes_received
        lengths.extend((held, len(await exchange.body())))
        exchange.respond(200, b"", b"")

    async def main() -> None:
        async with net.server(handler) as server, net.client(server.port) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8000000\r\n\r\n" + b"a" * 8_000_000)
            await asyncio.sleep(0.3)
            asked.set()
            await head_of(reader)
            assert lengths[0] < 1_000_000
            assert lengths[1] == 8_000_000

    net.run(main)


def test_pipelined_requests_without_end_are_not_stored(net) -> None:
    async def handler(exchange: Exchange) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with net.server(handler) as server, net.client(server.port) as (_, writer):
            for _ in range(200):
                writer.write(GET * 2000)
            await asyncio.sleep(0.3)
            (connection,) = server._connections
            assert connection._reader.held < 1_000_000

    net.run(main)


def test_requests_of_one_connection_are_answered_in_order_however_long_each_takes(net) -> None:
    async def handler(exchange: Exchange) -> None:
        wait = exchange.head.query
        await asyncio.sleep(int(wait) / 1000)
        exchange.respond(200, b"", b"<%b>" % wait)

    async def main() -> None:
        async with net.server(handler) as server:
            waits = (b"30", b"1", b"20", b"0")
            data = b"".join(b"GET /?%b HTTP/1.1\r\nhost: a\r\n\r\n" % wait for wait in waits[:-1])
            got = await answer(
                net, server.port, data + b"GET /?0 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            )
            places = [got.index(b"<%b>" % wait) for wait in waits]
            assert places == sorted(places)

    net.run(main)


def test_an_idle_client_is_closed_after_the_keep_alive_time(net) -> None:
    async def main() -> None:
        async with net.server(hello, timeouts=Timeouts(keep_alive_s=0.3)) as server:
            async with net.client(server.port) as (reader, writer):
                writer.write(GET)
                assert (await reader.read()).endswith(b"hello")

    net.run(main)


def test_a_long_answer_is_not_an_idle_client(net) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(1.5)
        exchange.respond(200, b"", b"late")

    async def main() -> None:
        short = Timeouts(keep_alive_s=0.2, header_s=0.2, body_idle_s=0.2)
        async with net.server(slow, timeouts=short) as server:
            assert (await answer(net, server.port, closing(GET))).endswith(b"late")

    net.run(main)


def test_one_connection_too_many_gets_503_and_can_read_it(net) -> None:
    async def main() -> None:
        async with net.server(hello, HttpLimits(connections=1)) as server, net.client(server.port):
            await net.until(lambda: server.connections == 1)
            got = await answer(net, server.port, GET)
            assert got.startswith(b"HTTP/1.1 503 ")
            assert b'"overloaded"' in got
            assert b"\r\nretry-after: 1\r\n" in got

    net.run(main)


def test_a_burst_of_connections_is_taken_in_few_rounds_of_the_loop(net) -> None:
    """However long a round takes, who connects last does not wait for one round a connection before it."""

    async def main() -> None:
        async with net.server(hello) as server:
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(160)]
            rounds = 0
            while server.connections < 160:
                rounds += 1
                await asyncio.sleep(0)
            for client in clients:
                client.close()
            assert rounds < 40

    net.run(main)


def test_a_port_in_use_is_said_so(net) -> None:
    async def main() -> None:
        async with net.server(hello) as server:
            other = Server(hello, HttpLimits(), Timeouts())
            with pytest.raises(
                OSError, match=f"cannot listen on 127.0.0.1:{server.port}: the address is in use"
            ):
                await other.listen("127.0.0.1", server.port)

    net.run(main)


def test_new_limits_hold_for_new_connections(net) -> None:
    async def main() -> None:
        async with net.server(hello) as server:
            server.reconfigure(HttpLimits(header_count=1), Timeouts())
            assert (await answer(net, server.port, GET.replace(b"host", b"x: y\r\nhost"))).startswith(
                b"HTTP/1.1 431 "
            )

    net.run(main)


def test_drain_finishes_what_is_under_way(net) -> None:
    async def slow(exchange: Exchange) -> None:
        exchange.start(200, b"", None)
        for _ in range(10):
            exchange.write(b"a")
            await asyncio.sleep(0.03)
        exchange.end()

    async def main() -> None:
        async with net.server(slow) as server, net.client(server.port) as (reader, writer):
            writer.write(GET)
            await net.until(lambda: server.active == 1)
            assert await server.drain(10) == 0
            assert (await reader.read()).endswith(b"1\r\na\r\n0\r\n\r\n")

    net.run(main)


def test_while_draining_requests_are_served_and_told_to_close(net) -> None:
    async def main() -> None:
        async with net.server(hello) as server, net.client(server.port) as (reader, writer):
            writer.write(GET)
            assert b"connection: close" not in await head_of(reader)
            await reader.readexactly(5)
            draining = asyncio.create_task(server.drain(10))
            await net.until(lambda: server.draining)
            writer.write(GET)
            assert b"connection: close" in await head_of(reader)
            assert await reader.read() == b"hello"
            assert (await answer(net, server.port, GET)).endswith(b"hello")  # a new connection as well
            assert await draining == 0
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", server.port)

    net.run(main)


def test_what_the_drain_limit_cuts_is_counted_and_may_say_so(net) -> None:
    async def endless(exchange: Exchange) -> None:
        exchange.start(200, b"", None)
        try:
            while True:
                exchange.write(b"a")
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            assert exchange.cut
            exchange.write(b"error")
            exchange.end()
            raise

    async def main() -> None:
        async with net.server(endless) as server, net.client(server.port) as (reader, writer):
            writer.write(GET)
            await net.until(lambda: server.active == 1)
            assert await server.drain(0.3) == 1
            assert (await reader.read()).endswith(b"5\r\nerror\r\n0\r\n\r\n")

    net.run(main)


def test_a_handler_that_ignores_being_cut_does_not_stop_the_stop(net) -> None:
    async def stubborn(exchange: Exchange) -> None:
        exchange.start(200, b"", None)
        for _ in range(25):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)

    async def main() -> None:
        async with net.server(stubborn) as server, net.client(server.port) as (_, writer):
            writer.write(GET)
            await net.until(lambda: server.active == 1)
            async with asyncio.timeout(5):
                assert await server.drain(0.2) == 1

    net.run(main)


def test_clients_under_way_lose_nothing_in_a_drain(net) -> None:
    """Each client reconnects when told to close: every request it sent gets its answer."""

    async def work(exchange: Exchange) -> None:
        await exchange.body()
        await asyncio.sleep(0.002)
        exchange.respond(200, b"", b"ok")

    async def main() -> None:
        lost, served = [], 0
        stop = False

        async def client(port: int) -> None:
            nonlocal served
            while not stop:
                async with net.client(port) as (reader, writer):
                    told = False
                    while not told and not stop:
                        writer.write(GET)
                        try:
                            told = b"connection: close" in await head_of(reader)
                            assert await reader.readexactly(2) == b"ok"
                        except (OSError, asyncio.IncompleteReadError) as error:
                            lost.append(error)
                            return
                        served += 1

        async with net.server(work) as server:
            clients = [asyncio.create_task(client(server.port)) for _ in range(20)]
            await net.until(lambda: served > 200)
            draining = asyncio.create_task(server.drain(20))
            await net.until(lambda: served > 600)
            stop = True
            await asyncio.gather(*clients)
            assert await draining == 0
            assert not lost

    net.run(main)
