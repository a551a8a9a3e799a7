"""A backend that costs next to nothing: one fixed chat completion of about 1 KB, plain or as a stream.

    python stub.py PORT [CHUNKS] [INTERVAL_MS]

A stream is CHUNKS events, INTERVAL_MS apart. All streams share one clock: 1,000 of them need no 1,000 timers.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys

import httptools
import uvloop

CHUNKS = int(sys.argv[2]) if len(sys.argv) > 2 else 64
INTERVAL_S = (float(sys.argv[3]) if len(sys.argv) > 3 else 20.0) / 1000
TEXT = "The answer to this is forty-two, and nobody knows what was asked. " * 9
USAGE = {"prompt_tokens": 211, "completion_tokens": CHUNKS, "total_tokens": 211 + CHUNKS}
ABOUT = {"id": "chatcmpl-0123456789abcdef", "created": 1_750_000_000, "model": "chat"}


def message(kind: str, body: bytes, length: bool = True) -> bytes:
    framing = b"content-length: %d" % len(body) if length else b"transfer-encoding: chunked"
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n%b" % (kind.encode(), framing, body)


def event(data: str) -> bytes:
    body = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(body), body)


def delta(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}
    return event(json.dumps({**ABOUT, "object": "chat.completion.chunk", "choices": [choice]}))


CHOICE = {
    "index": 0,
    "message": {"role": "assistant", "content": TEXT},
    "finish_reason": "stop",
    "logprobs": None,
}
PLAIN = message(
    "application/json",
    json.dumps({**ABOUT, "object": "chat.completion", "choices": [CHOICE], "usage": USAGE}).encode(),
)
OTHER = message("application/json", b'{"status":"ok","object":"list","data":[]}')
STREAM_HEAD = message("text/event-stream; charset=utf-8", b"", length=False)
EVENTS = [delta(f" word{i:05d}", "stop" if i == CHUNKS - 1 else None) for i in range(CHUNKS)]
USAGE_EVENT = event(json.dumps({**ABOUT, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}))
END = event("[DONE]") + b"0\r\n\r\n"


class Backend(asyncio.Protocol):
    streams: set[Backend]

    def __init__(self, streams: set[Backend]) -> None:
        self.streams = streams
        self.sent = 0
        self.usage = False
        self.body = b""
        self.url = b""
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.streams.discard(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if not self.url.startswith(b"/v1/chat"):
            self.transport.write(OTHER)
        elif b'"stream":true' in body or b'"stream": true' in body:
            self.usage = b"include_usage" in body
            self.sent = 0
            self.transport.write(STREAM_HEAD)
            self.streams.add(self)
        else:
            self.transport.write(PLAIN)

    def beat(self) -> None:
        self.transport.write(EVENTS[self.sent])
        self.sent += 1
        if self.sent == CHUNKS:
            self.streams.discard(self)
            self.transport.write((USAGE_EVENT if self.usage else b"") + END)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    streams: set[Backend] = set()
    server = await loop.create_server(lambda: Backend(streams), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    due = loop.time()
    while True:
        due += INTERVAL_S
        await asyncio.sleep(max(0.0, due - loop.time()))
        for stream in tuple(streams):
            stream.beat()


if __name__ == "__main__":
    gc.disable()
    uvloop.run(main(int(sys.argv[1])))
