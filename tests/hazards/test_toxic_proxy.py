"""The toxics do what they are called: each on a server that answers `x` with a header and ten bytes."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.hazards import toxics

ANSWER = b"HTTP/1.1 200 OK\r\n\r\n0123456789"
PASSED = ANSWER[:-5]
"""What comes before the place."""


async def answered(toxic: toxics.Toxic) -> tuple[bytes, str, float, bool]:
    """What came, how it ended, after how many seconds, and whether another connection is taken."""
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(ANSWER)
        writer.close()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.get_running_loop().create_task(serve(reader, writer)))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    proxy = toxics.Proxy(server.sockets[0].getsockname()[1], toxic, "to client", toxics.in_body)
    await proxy.start()
    proxy.armed = True
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    began, got, how = time.monotonic(), b"", "closed"
    writer.write(b"x")
    try:
        async with asyncio.timeout(0.7):
            while piece := await reader.read(1000):
                got += piece
    except TimeoutError:
        how = "open"
    except ConnectionResetError:
        how = "reset"
    took_s = time.monotonic() - began
    writer.close()
    try:
        _, again = await asyncio.open_connection("127.0.0.1", proxy.port)
        again.close()
        taken = True
    except ConnectionRefusedError:
        taken = False
    await proxy.stop()
    server.close()
    await asyncio.gather(*served, return_exceptions=True)
    return got, how, took_s, taken


@pytest.mark.parametrize(
    ("toxic", "got", "how", "at_least_s", "taken"),
    [
        pytest.param(toxics.Toxic(), ANSWER, "closed", 0, True, id="none"),
        pytest.param(toxics.Latency(0.2), ANSWER, "closed", 0.2, True, id="latency"),
        pytest.param(toxics.Bandwidth(50), ANSWER, "closed", 0.1, True, id="bandwidth"),
        pytest.param(toxics.Slicer(1, 0.03), ANSWER, "closed", 0.15, True, id="slicer"),
        pytest.param(toxics.SlowClose(0.2), ANSWER, "closed", 0.2, True, id="slow_close"),
        pytest.param(toxics.Timeout(), PASSED, "open", 0.6, True, id="timeout"),
        pytest.param(toxics.LimitData(), PASSED, "closed", 0, True, id="limit_data"),
        pytest.param(toxics.ResetPeer(), PASSED, "reset", 0, True, id="reset"),
        pytest.param(toxics.Down(), PASSED, "closed", 0, False, id="down"),
    ],
)
def test_a_toxic_does_what_it_is_called(toxic, got, how, at_least_s, taken):
    came, ended, took_s, still = asyncio.run(answered(toxic))
    assert (came, ended, still) == (got, how, taken)
    assert took_s >= at_least_s


@pytest.mark.parametrize(
    ("place", "text", "at"),
    [
        (toxics.in_header, b"GET / HTTP/1.1\r\n", 12),
        (toxics.in_header, b"GET / HTTP/1", None),
        (toxics.in_body, b"a\r\n\r\n12345", None),
        (toxics.in_body, b"a\r\n\r\n123456", 10),
        (toxics.in_event, b"data: 1\n\ndata: 2\n\ndata: 34567", None),
        (toxics.in_event, b"data: 1\n\ndata: 2\n\ndata: 3456789", 30),
    ],
)
def test_a_place_is_told_from_what_has_passed(place, text, at):
    assert place(text) == at
