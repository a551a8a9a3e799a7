"""The server of this benchmark: streams of as many events as were asked for, cheap enough to outrun clients.

    python stub.py BEAT_MS      prints its port

The streams are those of ENGINES engines: those of one share a beat, and the engines' beats are evenly apart.
`GET /counts`: requests, whole answers and chunks so far, when, and how far apart the chunks of a stream were.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import re
import sys
import time

import uvloop

ENGINES = 8
"""So many, because no one engine writes 20,000 chunks a second, least of all in the same instant."""
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_MODELS = b'{"data":[{"id":"chat"}]}'


def chunk(value: object) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    event = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


def piece(finish: str | None) -> bytes:
    """Of the size that vLLM writes: about 230 bytes."""
    return chunk(
        {
            "id": "chatcmpl-0123456789abcdef0123456789abcdef",
            "object": "chat.completion.chunk",
            "created": 1_750_000_000,
            "model": "chat",
            "choices": [
                {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": finish}
            ],
        }
    )


PIECE, LAST = piece(None), piece("length")


def end(tokens: int) -> bytes:
    counts = {"prompt_tokens": 64, "completion_tokens": tokens, "total_tokens": 64 + tokens}
    return chunk({"id": "1", "choices": [], "usage": counts}) + chunk("[DONE]") + b"0\r\n\r\n"


class Counts:
    """Of all answers."""

    def __init__(self) -> None:
        self.requests = self.answers = self.chunks = 0
        self.paced = 0
        """Streams with a beat, and seconds between their chunks, summed: what a client should have seen."""
        self.gaps_s = 0.0

    def told(self) -> bytes:
        return json.dumps({"at": time.monotonic(), **vars(self)}).encode()


class Server(asyncio.Protocol):
    def __init__(self, engine: set[Server], counts: Counts) -> None:
        self.under_way, self.counts = engine, counts
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.under_way.discard(self)

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data
        head = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head + 2) if head > 0 else None
        if head < 0 or (length is not None and len(data) < head + 4 + int(length[1])):
            self.buffer = data
            return
        self.buffer = b""
        if data.startswith(b"GET"):
            body = self.counts.told() if data.startswith(b"GET /counts") else _MODELS
            start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(start % len(body) + body)
            return
        found = _TOKENS.search(data)
        self.tokens = self.left = int(found[1]) if found else 1
        self.counts.requests += 1
        if self.tokens > 1:
            self.transport.write(_HEAD)
        self.under_way.add(self)

    def beat(self, now: float) -> None:
        if self.left == self.tokens:
            self.began = now
        self.left -= 1
        counts = self.counts
        counts.chunks += 1
        if self.left:
            self.transport.write(PIECE)
        else:
            self.under_way.discard(self)
            whole = LAST + end(self.tokens)
            self.transport.write(whole if self.tokens > 1 else _HEAD + whole)
            counts.answers += 1
            if self.tokens > 1:
                counts.paced += 1
                counts.gaps_s += (now - self.began) / (self.tokens - 1)


async def main(beat_s: float) -> None:
    loop = asyncio.get_running_loop()
    engines: list[set[Server]] = [set() for _ in range(ENGINES)]
    counts, turn = Counts(), itertools.cycle(engines)
    server = await loop.create_server(lambda: Server(next(turn), counts), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    due = loop.time()
    for engine in itertools.cycle(engines):
        due = max(due + beat_s / ENGINES, loop.time())
        await asyncio.sleep(due - loop.time())
        for stream in tuple(engine):
            stream.beat(time.monotonic())


if __name__ == "__main__":
    gc.disable()
    uvloop.run(main(float(sys.argv[1]) / 1000))
