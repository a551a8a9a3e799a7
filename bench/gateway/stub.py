"""The benchmark's backend: it speaks vLLM's dialect and costs about what nginx costs for a fixed answer.

    python stub.py        prints its port

Plain calls get one fixed completion at once. A stream gets one event a beat; all streams share one clock,
as those of one engine do, and 1,000 of them need no 1,000 timers. `GET /pace/MS` sets the time between
two beats. HTTP is read by hand, for speed: only what the proxies of this benchmark send is understood.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys

import answers
import process
import uvloop

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_STREAM = re.compile(rb'"stream": *true')
_INCLUDE = re.compile(rb'"include_usage": *true')
_RUNNING = re.compile(rb'"continuous_usage_stats": *true')
_FIXED = {b"/health": answers.OK, b"/v1/models": answers.MODELS, b"/ping": answers.OK}


class Clock:
    """The streams that are under way, and how often they get an event."""

    def __init__(self) -> None:
        self.streams: set[Backend] = set()
        self.pace_s = answers.PACE_S
        self.again = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self.pace_s, loop.time() - self.pace_s)
            try:
                await asyncio.wait_for(self.again.wait(), max(0.0, due - loop.time()))
                self.again.clear()
                due = loop.time()
            except TimeoutError:
                for stream in tuple(self.streams):
                    stream.beat()

    def set_pace(self, pace_s: float) -> None:
        self.pace_s = pace_s
        self.again.set()


class Backend(asyncio.Protocol):
    """One connection of a proxy."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.buffer = b""
        self.sent = 0
        self.events = answers.STREAM
        self.end = answers.END

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.clock.streams.discard(self)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        head = data.find(b"\r\n\r\n")
        if head < 0 or len(data) < self._length(data, head):
            self.buffer = data
            return
        self.buffer = b""
        if data.startswith(b"POST"):
            self._complete(data)
        else:
            self._get(data.split(b" ", 2)[1])

    @staticmethod
    def _length(data: bytes, head: int) -> int:
        """Of the whole request; of a chunked one as soon as its end is there."""
        found = _LENGTH.search(data, 0, head + 2)
        if found is not None:
            return head + 4 + int(found[1])
        if _CHUNKED.search(data, 0, head + 2) is not None and not data.endswith(b"\r\n0\r\n\r\n"):
            return len(data) + 1
        return head + 4

    def _complete(self, data: bytes) -> None:
        if _STREAM.search(data) is None:
            self.transport.write(answers.PLAIN)
            return
        usage = _INCLUDE.search(data) is not None
        running = usage and _RUNNING.search(data) is not None
        self.events = answers.STREAM_RUNNING if running else answers.STREAM
        self.end = answers.END_USAGE if usage else answers.END
        self.sent = 0
        self.transport.write(answers.STREAM_HEAD)
        self.clock.streams.add(self)

    def _get(self, path: bytes) -> None:
        if path.startswith(b"/pace/"):
            self.clock.set_pace(int(path[6:]) / 1000)
            self.transport.write(answers.OK)
            return
        self.transport.write(_FIXED.get(path, answers.NOT_FOUND))

    def beat(self) -> None:
        self.transport.write(self.events[self.sent])
        self.sent += 1
        if self.sent == len(self.events):
            self.clock.streams.discard(self)
            self.transport.write(self.end)


async def main() -> None:
    clock = Clock()
    server = await asyncio.get_running_loop().create_server(
        lambda: Backend(clock), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await clock.run()


if __name__ == "__main__":
    process.allow_many_files()
    gc.disable()
    sys.exit(uvloop.run(main()))
