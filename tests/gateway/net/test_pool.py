"""The client side against scripted backends: what is reused, what is cut, and how failures are named."""

# ruff: noqa: SIM117 - a server, then a client of it, read best as two steps

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gateway.config import Timeouts, Upstream
from gateway.net.pool import Pool, Reply, Sink, UpstreamFailed

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def says(*answers: bytes, then_close: bool = False) -> Any:
    """Answers each request with the next of `answers`."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request(reader)
            writer.write(answer)
        if not then_close:
            await reader.read()

    return script


async def fetch(pool: Pool, **more: Any) -> tuple[int, bytes]:
    reply = await pool.send(GET, **more)
    try:
        return reply.status, await reply.read_all(1 << 20)
    finally:
        reply.close()


async def failure(pool: Pool, **more: Any) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as caught:
        await fetch(pool, **more)
    assert pool.in_flight == 0
    return caught.value


def test_a_complete_reply_gives_its_connection_back(net) -> None:
    async def main() -> None:
        async with net.backend(says(OK, OK, OK)) as backend, net.pool(backend.port) as pool:
            for _ in range(3):
                assert await fetch(pool) == (200, b"ok")
                assert (pool.idle, pool.in_flight) == (1, 0)
            assert backend.accepted == 1

    net.run(main)


def test_the_last_connection_used_is_used_first(net) -> None:
    async def main() -> None:
        async def script(reader, writer) -> None:
            name = writer.get_extra_info("peername")[1]
            while True:
                await request(reader)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n%05d" % name)

        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            first, second = await asyncio.gather(pool.send(GET), pool.send(GET))
            names = [await first.read_all(9), await second.read_all(9)]
            first.close()
            second.close()
            assert [(await fetch(pool))[1] for _ in range(3)] == [names[1]] * 3

    net.run(main)


def test_a_smuggled_second_reply_is_never_read_as_an_answer(net) -> None:
    evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"

    async def main() -> None:
        async with net.backend(says(OK + evil)) as backend, net.pool(backend.port) as pool:
            assert await fetch(pool) == (200, b"ok")
            assert pool.idle == 0
            assert await fetch(pool) == (200, b"ok")
            assert backend.accepted == 2

    net.run(main)


def test_bytes_that_come_later_on_an_idle_connection_end_it(net) -> None:
    async def main() -> None:
        late = asyncio.Event()

        async def script(reader, writer) -> None:
            await request(reader)
            writer.write(OK)
            await late.wait()
            writer.write(OK)
            await reader.read()

        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            await fetch(pool)
            assert pool.idle == 1
            late.set()
            await net.until(lambda: pool.idle == 0)
            assert pool.connections == 0

    net.run(main)


def test_bytes_between_the_end_and_close_end_the_connection(net) -> None:
    async def main() -> None:
        late = asyncio.Event()

        async def script(reader, writer) -> None:
            await request(reader)
            writer.write(OK)
            await late.wait()
            writer.write(b"X")
            await reader.read()

        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            reply = await pool.send(GET)
            assert await reply.read_all(9) == b"ok"
            late.set()
            await asyncio.sleep(0.05)
            reply.close()
            assert pool.idle == 0

    net.run(main)


@pytest.mark.parametrize(
    ("answer", "want"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\n" + OK, (200, b"ok", 1)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", 1)),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", (304, b"", 1)),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            (200, b"abc", 1),
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (200, b"", 1)),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na", (200, b"a", 0)),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na", (200, b"a", 0)),
    ],
    ids=["1xx", "204", "304", "chunked", "empty", "close", "http-1.0"],
)
def test_a_reply_is_read_to_its_end(net, answer: bytes, want: tuple[int, bytes, int]) -> None:
    async def main() -> None:
        async with net.backend(says(answer)) as backend, net.pool(backend.port) as pool:
            assert (*await fetch(pool), pool.idle) == want

    net.run(main)


def test_a_close_delimited_reply_ends_with_its_connection(net) -> None:
    async def main() -> None:
        script = says(b"HTTP/1.1 200 OK\r\n\r\nhello", then_close=True)
        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            assert await fetch(pool) == (200, b"hello")
            assert pool.idle == 0

    net.run(main)


def test_a_reply_to_head_keeps_the_connection(net) -> None:
    async def main() -> None:
        async with net.backend(says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", OK)) as backend:
            async with net.pool(backend.port) as pool:
                assert await fetch(pool, head_only=True) == (200, b"")
                assert await fetch(pool) == (200, b"ok")
                assert backend.accepted == 1

    net.run(main)


@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        (b"", "head"),
        (b"HTTP/1.1 200", "head"),
        (b"rubbish\r\n\r\n", "head"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", "body"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "body"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "body"),
    ],
)
def test_a_cut_reply_fails_in_its_phase_and_is_never_a_clean_end(net, answer: bytes, phase: str) -> None:
    async def main() -> None:
        async with net.backend(says(answer, then_close=True)) as backend, net.pool(backend.port) as pool:
            failed = await failure(pool)
            assert failed.phase == phase
            assert not failed.timed_out
            assert pool.idle == 0
            await net.until(lambda: pool.connections == 0)

    net.run(main)


def test_what_came_before_a_reset_is_delivered_before_the_failure(net) -> None:
    async def main() -> None:
        script = says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", then_close=True)
        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            reply = await pool.send(GET)
            await net.until(lambda: backend.gone == 1)
            await asyncio.sleep(0.05)
            assert await reply.read() == b"hell"
            with pytest.raises(UpstreamFailed):
                await reply.read()
            reply.close()
            assert pool.in_flight == 0

    net.run(main)


def test_a_reset_in_mid_body_is_a_failure(net) -> None:
    async def main() -> None:
        async def script(reader, writer) -> None:
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
            await writer.drain()
            await asyncio.sleep(0.05)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            writer.transport.abort()

        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            assert (await failure(pool)).phase == "body"

    net.run(main)


def test_a_kept_connection_closed_by_the_backend_is_told_apart(net) -> None:
    async def main() -> None:
        async def script(reader, writer) -> None:
            await request(reader)
            writer.write(OK)
            await request(reader)

        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            await fetch(pool)
            failed = await failure(pool)
            assert (failed.phase, failed.reused) == ("head", True)

    net.run(main)


def test_a_kept_connection_that_has_closed_is_not_tried(net) -> None:
    async def main() -> None:
        async with net.backend(says(OK, then_close=True)) as backend, net.pool(backend.port) as pool:
            await fetch(pool)
            await net.until(lambda: pool.connections == 0)
            assert await fetch(pool) == (200, b"ok")

    net.run(main)


def test_nobody_listening_is_a_connect_failure(net) -> None:
    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            async with net.pool(sock.getsockname()[1]) as pool:
                failed = await failure(pool)
                assert failed.phase == "connect"
                assert "refused" in failed.reason.lower()

    net.run(main)


def test_a_backend_that_does_not_accept_times_out(net) -> None:
    async def main() -> None:
        with socket.socket() as sock:  # a full backlog drops what more comes
            sock.bind(("127.0.0.1", 0))
            sock.listen(0)
            fill = [socket.socket() for _ in range(3)]
            for one in fill:
                one.setblocking(False)
                one.connect_ex(sock.getsockname())
            port = sock.getsockname()[1]
            try:
                async with net.pool(port, timeouts=Timeouts(connect_s=0.3)) as pool:
                    failed = await failure(pool)
                    assert (failed.phase, failed.timed_out) == ("connect", True)
                async with net.pool(port, timeouts=Timeouts(connect_s=30.0)) as pool:
                    late: list[float] = []
                    while not late or (late[-1] >= 0.25 and len(late) < 5):  # others may keep the cores busy
                        soon = asyncio.get_running_loop().time() + 0.05
                        failed = await failure(pool, deadline=soon)
                        late.append(asyncio.get_running_loop().time() - soon)
                        assert (failed.phase, failed.timed_out) == ("send", True)  # no word of the backend
                    assert late[-1] < 0.25, late
            finally:
                for one in fill:
                    one.close()

    net.run(main)


def test_more_connections_than_allowed_are_refused(net) -> None:
    async def main() -> None:
        async with net.backend(says(OK)) as backend, net.pool(backend.port, Upstream(connections=1)) as pool:
            reply = await pool.send(GET)
            assert (await asyncio.gather(pool.send(GET), return_exceptions=True))[0].phase == "connect"
            reply.close()

    net.run(main)


def test_only_so_many_idle_connections_are_kept(net) -> None:
    async def main() -> None:
        async with net.backend(says(OK)) as backend, net.pool(backend.port, Upstream(keep_alive=1)) as pool:
            await asyncio.gather(fetch(pool), fetch(pool), fetch(pool))
            assert pool.idle == 1
            await net.until(lambda: pool.connections == 1)

    net.run(main)


def test_idle_connections_are_closed_before_the_backend_would(net) -> None:
    async def main() -> None:
        async with net.backend(says(OK)) as backend, net.pool(backend.port, Upstream(idle_s=0.2)) as pool:
            await fetch(pool)
            assert await net.until(lambda: backend.gone == 1) < 1.5
            assert pool.idle == 0

    net.run(main)


def test_a_stream_that_stops_times_out(net) -> None:
    async def main() -> None:
        script = says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na")
        async with net.backend(script) as backend:
            async with net.pool(backend.port, timeouts=Timeouts(stream_idle_s=0.3)) as pool:
                failed = await failure(pool)
                assert (failed.phase, failed.timed_out) == ("body", True)

    net.run(main)


def test_waiting_for_the_first_token_is_not_a_stopped_stream(net) -> None:
    async def main() -> None:
        async def script(reader, writer) -> None:
            await request(reader)
            await asyncio.sleep(1.3)
            writer.write(OK)
            await reader.read()

        async with net.backend(script) as backend:
            async with net.pool(backend.port, timeouts=Timeouts(stream_idle_s=0.3)) as pool:
                assert await fetch(pool) == (200, b"ok")

    net.run(main)


def test_a_reply_may_not_take_longer_than_its_total(net) -> None:
    async def main() -> None:
        async with net.backend(says(b"")) as backend:
            async with net.pool(backend.port, timeouts=Timeouts(total_s=0.3)) as pool:
                failed = await failure(pool)
                assert (failed.phase, failed.timed_out) == ("head", True)

    net.run(main)


async def _waits_for_the_head(pool: Pool) -> None:
    await pool.send(GET)


async def _reads_the_body(pool: Pool) -> None:
    reply = await pool.send(GET)
    try:
        while True:
            await reply.read()
    finally:
        reply.close()


@pytest.mark.parametrize(
    ("answer", "work"),
    [(b"", _waits_for_the_head), (b"HTTP/1.1 200 OK\r\n\r\na", _reads_the_body)],
    ids=["waiting", "streaming"],
)
def test_cancelled_the_backend_sees_the_end_within_a_second(net, answer: bytes, work) -> None:
    async def main() -> None:
        async with net.backend(says(answer)) as backend, net.pool(backend.port) as pool:
            task = asyncio.create_task(work(pool))
            await net.until(lambda: backend.accepted == 1)
            await asyncio.sleep(0.05)
            task.cancel()
            assert await net.until(lambda: backend.gone == 1) < 1.0
            await asyncio.gather(task, return_exceptions=True)
            assert (pool.in_flight, pool.idle) == (0, 0)

    net.run(main)


def test_cancelled_while_connecting_nothing_is_left(net) -> None:
    async def main() -> None:
        async with net.backend(says(OK)) as backend, net.pool(backend.port) as pool:
            for _ in range(50):
                task = asyncio.create_task(pool.send(GET))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert pool.in_flight == 0
            await net.until(lambda: pool.connections == 0 and backend.gone == backend.accepted)

    net.run(main)


def test_a_reply_closed_early_is_aborted_and_not_reused(net) -> None:
    async def main() -> None:
        async with net.backend(says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na")) as backend:
            async with net.pool(backend.port) as pool:
                reply = await pool.send(GET)
                reply.close()
                reply.close()
                assert (pool.in_flight, pool.idle) == (0, 0)
                assert await net.until(lambda: backend.gone == 1) < 1.0

    net.run(main)


def test_a_reply_nobody_reads_is_held_back_not_stored(net) -> None:
    async def main() -> None:
        sent = 0

        async def script(reader, writer) -> None:
            nonlocal sent
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
            for _ in range(1000):
                writer.write(b"a" * 100_000)
                sent += 100_000
                await writer.drain()
            await reader.read()

        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            reply = await pool.send(GET)
            before = -1
            while before != sent:  # until it does not move any more
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 30_000_000
            assert pool_bytes(reply) < 1_000_000
            size = 0
            while piece := await reply.read():
                size += len(piece)
            assert size == 100_000_000
            reply.close()

    net.run(main)


def pool_bytes(reply: Reply) -> int:
    assert reply._connection is not None
    return sum(map(len, reply._connection._pieces))


def test_a_backend_that_does_not_read_is_given_up_in_the_send_phase(net) -> None:
    async def main() -> None:
        async def script(reader, writer) -> None:
            writer.transport.pause_reading()
            await asyncio.sleep(20)

        big = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000000\r\n\r\n" + b"a" * 20_000_000
        async with net.backend(script) as backend:
            async with net.pool(backend.port, timeouts=Timeouts(stream_idle_s=0.5)) as pool:
                with pytest.raises(UpstreamFailed) as caught:
                    await pool.send(big)
                assert (caught.value.phase, caught.value.timed_out) == ("send", True)

    net.run(main)


STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def step_by_step(*pieces: bytes, cut: bool = False) -> Any:
    """One chunk each time that `go` is set."""
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(STREAM)
        for piece in pieces:
            await go.wait()
            go.clear()
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if cut:
            await go.wait()
            writer.transport.abort()
            return
        writer.write(b"0\r\n\r\n")
        await reader.read()

    return script, go


def test_pumped_pieces_are_handed_on_as_they_come_up_to_the_end(net) -> None:
    async def main() -> None:
        script, go = step_by_step(b"one", b"two", b"three")
        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            reply = await pool.send(GET)
            seen: list[bytes] = []

            def sink(piece: bytes) -> bool:
                seen.append(piece)
                return True

            pumping = asyncio.ensure_future(reply.pump(Sink(sink)))
            for n, wanted in enumerate((b"one", b"two", b"three"), 1):
                go.set()
                await net.until(lambda n=n: len(seen) == n)
                assert seen[-1] == wanted
            assert await pumping is True
            assert await reply.read() == b""
            reply.close()
            assert pool.idle == 1

    net.run(main)


def test_a_sink_that_takes_no_more_loses_nothing(net) -> None:
    async def main() -> None:
        pieces = [b"%03d" % n for n in range(50)]
        script, go = step_by_step(*pieces)
        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            reply = await pool.send(GET)
            seen: list[bytes] = []

            def sink(piece: bytes) -> bool:
                seen.append(piece)
                go.set()
                return len(seen) % 3 > 0

            go.set()
            stops = 0
            while not await reply.pump(Sink(sink)):
                stops += 1
                await asyncio.sleep(0)
            assert b"".join(seen) == b"".join(pieces)
            assert stops == len(seen) // 3
            reply.close()
            assert pool.idle == 1

    net.run(main)


def test_what_breaks_while_it_is_pumped_is_raised(net) -> None:
    async def main() -> None:
        script, go = step_by_step(b"one", b"two", cut=True)
        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            reply = await pool.send(GET)

            def sink(piece: bytes) -> bool:
                go.set()
                return True

            go.set()
            with pytest.raises(UpstreamFailed) as caught:
                await reply.pump(Sink(sink))
            assert caught.value.phase == "body"
            reply.close()

    net.run(main)


def test_what_a_sink_raises_reaches_who_pumps_and_costs_the_connection(net) -> None:
    async def main() -> None:
        script, go = step_by_step(b"one", b"two", b"three")
        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            reply = await pool.send(GET)
            seen: list[bytes] = []

            def sink(piece: bytes) -> bool:
                seen.append(piece)
                go.set()
                if len(seen) == 2:
                    raise ZeroDivisionError
                return True

            go.set()
            with pytest.raises(ZeroDivisionError):
                await reply.pump(Sink(sink))
            reply.close()
            assert (pool.idle, pool.in_flight) == (0, 0)
            await net.until(lambda: backend.gone == 1)

    net.run(main)


def test_a_pump_that_is_cancelled_hands_nothing_on_any_more(net) -> None:
    async def main() -> None:
        script, go = step_by_step(b"one", b"two")
        async with net.backend(script) as backend, net.pool(backend.port) as pool:
            reply = await pool.send(GET)
            seen: list[bytes] = []

            def sink(piece: bytes) -> bool:
                seen.append(piece)
                return True

            go.set()
            pumping = asyncio.ensure_future(reply.pump(Sink(sink)))
            await net.until(lambda: len(seen) == 1)
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)
            go.set()
            assert await reply.read() == b"two"
            assert seen == [b"one"]
            reply.close()

    net.run(main)


def test_a_backend_that_falls_silent_while_it_is_pumped_is_given_up(net) -> None:
    async def main() -> None:
        script, go = step_by_step(b"one", b"two")
        async with net.backend(script) as backend:
            async with net.pool(backend.port, timeouts=Timeouts(stream_idle_s=0.5)) as pool:
                reply = await pool.send(GET)
                go.set()
                with pytest.raises(UpstreamFailed) as caught:
                    await reply.pump(Sink(lambda piece: True))
                assert caught.value.timed_out
                reply.close()

    net.run(main)


def test_a_connection_whose_connect_took_long_is_not_swept_away_before_its_first_request(net) -> None:
    async def main() -> None:
        async with net.backend(says(OK)) as backend, net.pool(backend.port) as pool:
            connection = await pool._connect(asyncio.get_running_loop().time() + 5)
            loop = asyncio.get_running_loop()
            pool.sweep(loop.time() + pool.upstream.idle_s + 1)
            assert connection._open
            pool.sweep(loop.time() + pool.timeouts.stream_idle_s + 1)
            assert not connection._open  # nobody came for it

    net.run(main)
