"""A loopback proxy with toxics, in the manner of toxiproxy: each takes hold of one direction, at one place.

    latency       every piece comes late
    bandwidth     so many bytes a second
    slicer        a few bytes at a time
    slow_close    the end comes late
    timeout       nothing passes any more, and the connection stays open
    limit_data    the connection is closed there
    reset         the connection is reset there
    down          ... closed, and no other one is taken

A place is told from the bytes of its direction: inside the header, behind it, inside an event. Up to it
everything passes; what came before it is on its way for SETTLE_S before the toxic takes hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Literal

Direction = Literal["to server", "to client"]
Place = Callable[[bytes], int | None]
"""The bytes of one direction so far -> where the toxic takes hold; None: not yet."""

SETTLE_S = 0.02
READ_BYTES = 65536
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close is a reset."""


def in_header(seen: bytes) -> int | None:
    return 12 if len(seen) > 12 else None


def in_body(seen: bytes) -> int | None:
    end = seen.find(b"\r\n\r\n")
    return end + 9 if 0 <= end < len(seen) - 9 else None


def in_event(seen: bytes) -> int | None:
    """Inside the third one."""
    at = -1
    for _ in range(3):
        at = seen.find(b"data: ", at + 1)
        if at < 0:
            return None
    return at + 12 if len(seen) > at + 12 else None


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers: dict[Direction, asyncio.StreamWriter] = {"to server": server, "to client": client}
        self.over = asyncio.Event()

    def close(self) -> None:
        self.over.set()
        for writer in self.writers.values():
            writer.close()

    def reset(self) -> None:
        self.over.set()
        for writer in self.writers.values():
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Toxic:
    """Harmless: what the others begin with."""

    async def carry(self, data: bytes, writer: asyncio.StreamWriter, link: Link, proxy: Proxy) -> None:
        """What came in -> what goes out, and when."""
        await _write(writer, data)

    async def end(self) -> None:
        """Before the end is passed on."""


class Latency(Toxic):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def carry(self, data: bytes, writer: asyncio.StreamWriter, link: Link, proxy: Proxy) -> None:
        await asyncio.sleep(self.seconds)
        await _write(writer, data)


class Slicer(Toxic):
    def __init__(self, size: int, pause_s: float) -> None:
        self.size = size
        self.pause_s = pause_s

    async def carry(self, data: bytes, writer: asyncio.StreamWriter, link: Link, proxy: Proxy) -> None:
        for at in range(0, len(data), self.size):
            await _write(writer, data[at : at + self.size])
            await asyncio.sleep(self.pause_s)


class Bandwidth(Slicer):
    def __init__(self, bytes_per_s: float, pause_s: float = 0.02) -> None:
        super().__init__(max(1, round(bytes_per_s * pause_s)), pause_s)


class SlowClose(Toxic):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def end(self) -> None:
        await asyncio.sleep(self.seconds)


class Timeout(Toxic):
    async def carry(self, data: bytes, writer: asyncio.StreamWriter, link: Link, proxy: Proxy) -> None:
        await link.over.wait()


class LimitData(Toxic):
    async def carry(self, data: bytes, writer: asyncio.StreamWriter, link: Link, proxy: Proxy) -> None:
        link.close()


class ResetPeer(Toxic):
    async def carry(self, data: bytes, writer: asyncio.StreamWriter, link: Link, proxy: Proxy) -> None:
        link.reset()


class Down(Toxic):
    async def carry(self, data: bytes, writer: asyncio.StreamWriter, link: Link, proxy: Proxy) -> None:
        proxy.go_down()


class Proxy:
    """Listens on `port`, leads to `server_port`. Until it is `armed` everything passes untouched."""

    def __init__(self, server_port: int, toxic: Toxic, direction: Direction, place: Place) -> None:
        self.server_port = server_port
        self.toxic = toxic
        self.direction = direction
        self.place = place
        self.armed = False
        self.port = 0
        self.fired_at: float | None = None
        """When the toxic took hold first (time.monotonic)."""
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, *, window_bytes: int | None = None) -> Proxy:
        """`window_bytes`: how little the kernel keeps of what the server sends and nobody reads."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._window_bytes = window_bytes
        self._server = await asyncio.start_server(self._accepted, sock=listening)
        self.port = listening.getsockname()[1]
        return self

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        found = socket.socket()
        found.setblocking(False)
        if self._window_bytes is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._window_bytes)
        try:
            await asyncio.get_running_loop().sock_connect(found, ("127.0.0.1", self.server_port))
        except BaseException:
            found.close()
            raise
        return await asyncio.open_connection(sock=found)

    async def stop(self) -> None:
        self.go_down()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def go_down(self) -> None:
        self._server.close()
        for link in tuple(self._links):
            link.close()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await self._connect()
        except (OSError, asyncio.CancelledError):
            writer.close()
            return
        link = Link(writer, server_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(reader, link, "to server"), self._pump(server_reader, link, "to client")
            )
        finally:
            link.close()
            self._links.discard(link)

    async def _pump(self, reader: asyncio.StreamReader, link: Link, direction: Direction) -> None:
        toxic = self.toxic if self.armed and direction == self.direction else None
        writer = link.writers[direction]
        seen, found = b"", False
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                if toxic is not None and not found:
                    seen += data
                    at = self.place(seen)
                    found = at is not None
                    if at is not None:
                        passed = max(0, len(data) - (len(seen) - at))
                        await _write(writer, data[:passed])
                        data = data[passed:]
                        await asyncio.sleep(SETTLE_S)
                        self.fired_at = self.fired_at or time.monotonic()
                if toxic is not None and found:
                    await toxic.carry(data, writer, link, self)
                    if link.over.is_set():
                        return
                else:
                    await _write(writer, data)
        if toxic is not None:
            await toxic.end()
        link.close()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(data)
    await writer.drain()
