"""Closed-loop load: CONNECTIONS clients, each sends its next request when the last answer is complete.

    python load.py PORT CONNECTIONS SECONDS [--stream]      prints one line of JSON

Every answer is checked: status 200, and the events of a stream counted up to [DONE].
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

import httptools
import uvloop

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
QUESTION = "Here is a question of some length, as people ask them. " * 14


def request(*, stream: bool) -> bytes:
    call = {
        "model": "chat",
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 64,
        "temperature": 0.7,
    }
    if stream:
        call |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(call, separators=(",", ":")).encode()
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "Host: bench.example",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
        "Accept: application/json",
        "User-Agent: OpenAI/Python 3.54.0",
        "X-Stainless-Lang: python",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


class Totals:
    def __init__(self) -> None:
        self.requests = 0
        self.events = 0
        self.bad: dict[str, int] = {}
        self.latencies: list[float] = []

    def blame(self, why: str) -> None:
        self.bad[why] = self.bad.get(why, 0) + 1


class Client(asyncio.Protocol):
    def __init__(self, data: bytes, stream: bool, totals: Totals, end: float) -> None:
        self.data, self.stream, self.totals, self.end = data, stream, totals, end
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.events = 0
        self.finished = False
        self.began = time.perf_counter()
        self.transport.write(self.data)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.finish(f"not HTTP: {error}")

    def on_body(self, body: bytes) -> None:
        if self.stream:
            self.events += body.count(b"\n\n")
            self.finished = b"data: [DONE]" in body

    def on_message_complete(self) -> None:
        totals = self.totals
        status = self.parser.get_status_code()
        if status != 200 or (self.stream and not self.finished):
            totals.blame(f"status {status}" if status != 200 else "a stream without [DONE]")
        totals.requests += 1
        totals.events += self.events
        totals.latencies.append(time.perf_counter() - self.began)
        if time.perf_counter() < self.end and self.parser.should_keep_alive():
            self.send()
        else:
            self.finish(None)

    def finish(self, why: str | None) -> None:
        if not self.done.done():
            if why:
                self.totals.blame(why)
            self.done.set_result(None)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.finish("the connection was cut")


async def main(port: int, connections: int, seconds: float, *, stream: bool) -> None:
    loop = asyncio.get_running_loop()
    totals = Totals()
    data = request(stream=stream)
    start = time.perf_counter()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: Client(data, stream, totals, start + seconds), "127.0.0.1", port
        )
        clients.append(client)
    await asyncio.wait([client.done for client in clients], timeout=seconds + 10)
    took = time.perf_counter() - start
    ordered = sorted(totals.latencies) or [0.0]
    print(
        json.dumps(
            {
                "requests": totals.requests,
                "events": totals.events,
                "seconds": round(took, 3),
                "bad": totals.bad,
                "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
                "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
            }
        )
    )


if __name__ == "__main__":
    gc.disable()
    _, PORT, CONNECTIONS, SECONDS, *MORE = sys.argv
    uvloop.run(main(int(PORT), int(CONNECTIONS), float(SECONDS), stream="--stream" in MORE))
