"""The benchmark's load, on the stub's core. Each command prints one line of JSON.

    python load.py plain   PORT CONNECTIONS SECONDS [PID...]          closed loop: a request follows an answer
    python load.py streams PORT STREAMS WAVES exact|words LIMIT_S     every byte and its time is checked
    python load.py open    PORT STREAMS                               holds them until stdin ends

`plain` reads the CPU time of the PIDs at the first and at the last moment that counts.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
from bisect import bisect_left
from itertools import accumulate, pairwise
from time import perf_counter

import answers
import httptools
import process
import uvloop

WARM_S = 0.3
"""Before anything counts: connections are made, caches and pools are filled."""
CALM_S = 0.005
"""Pause after each 16 connections, and after each 16 streams that begin."""
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CODE = re.compile(rb'"code": ?"(\w+)"')


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def status(data: bytes) -> str:
    """... of an answer that is none, with the word that it gives for it."""
    code = _CODE.search(data)
    return f"status {data[9:12].decode('latin-1')}{' ' + code[1].decode() if code else ''}"


class Blame:
    """What went wrong, and how often."""

    def __init__(self) -> None:
        self.why: dict[str, int] = {}

    def __call__(self, why: str) -> None:
        self.why[why] = self.why.get(why, 0) + 1


class Plain(asyncio.Protocol):
    """One connection of the closed loop. An answer is right if it is 200 and whole."""

    request = answers.request(stream=False)

    def __init__(self, latencies: list[float], blame: Blame) -> None:
        self.latencies = latencies
        self.blame = blame
        self.buffer = b""
        self.stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.began = perf_counter()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        head = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head + 2) if head > 0 else None
        if length is None:
            if head < 0 or not self._odd_is_whole(data):
                self.buffer = data
                return
        elif len(data) < head + 4 + int(length[1]):
            self.buffer = data
            return
        self.buffer = b""
        now = perf_counter()
        self.latencies.append(now - self.began)
        if data[9:12] != b"200" or b'"finish_reason":"stop"' not in data:
            self.blame(status(data))
        if not self.stopped:
            self.began = now
            self.transport.write(self.request)

    @staticmethod
    def _odd_is_whole(data: bytes) -> bool:
        """Whether an answer without a length has ended."""
        ended: list[bool] = []
        reader = type("Reader", (), {"on_message_complete": lambda _: ended.append(True)})()
        httptools.HttpResponseParser(reader).feed_data(data)
        return bool(ended)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.stopped:
            self.blame("the connection was cut")


async def plain(port: int, connections: int, seconds: float, pids: tuple[int, ...]) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    blame = Blame()
    clients = []
    for number in range(connections):
        _, client = await loop.create_connection(lambda: Plain(latencies, blame), "127.0.0.1", port)
        clients.append(client)
        if number % 16 == 15:
            await asyncio.sleep(CALM_S)
    await asyncio.sleep(WARM_S)
    latencies.clear()
    blame.why.clear()
    before, own, began = [process.cpu_s(pid) for pid in pids], time.process_time(), perf_counter()
    await asyncio.sleep(seconds)
    took, own, after = perf_counter() - began, time.process_time() - own, [process.cpu_s(pid) for pid in pids]
    requests = len(latencies)
    for client in clients:
        client.stopped = True
    counted = latencies[:requests]
    await asyncio.sleep(0.05)
    for client in clients:
        client.transport.close()
    return {
        "requests": requests,
        "seconds": took,
        "bad": blame.why,
        "p50_us": quantile(counted, 0.50) * 1e6,
        "p99_us": quantile(counted, 0.99) * 1e6,
        "cpu_s": [end - start for start, end in zip(before, after, strict=True)],
        "load_cpu_s": own,
    }


class Stream(asyncio.Protocol):
    """One connection that asks for `waves` streams in turn. What arrives is kept, and read later."""

    request = answers.request(stream=True)

    def __init__(self, waves: int, blame: Blame, done: asyncio.Future[None]) -> None:
        self.left = waves
        self.blame = blame
        self.done = done
        self.kept: list[tuple[float, list[bytes], list[float]]] = []
        self.first = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self) -> None:
        self.pieces: list[bytes] = []
        self.times: list[float] = []
        self.kept.append((perf_counter(), self.pieces, self.times))
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.times.append(perf_counter())
        self.pieces.append(data)
        if len(self.pieces) == 1 and data[9:12] != b"200":
            self.finish(status(data))
        elif data.endswith(b"0\r\n\r\n") and b"".join(self.pieces[-4:]).endswith(b"\r\n0\r\n\r\n"):
            self.left -= 1
            if self.left:
                self.ask()
            else:
                self.finish(None)
        elif not self.first.done() and b"\n\n" in data:
            self.first.set_result(None)

    def finish(self, why: str | None) -> None:
        if self.done.done():
            return
        if why is not None:
            self.blame(why)
        self.done.set_result(None)
        if not self.first.done():
            self.first.set_result(None)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.finish("cut")


def body_of(raw: bytes) -> bytes | None:
    """The body of one whole answer; None: it is no HTTP."""
    parts: list[bytes] = []
    reader = type("Reader", (), {"on_body": lambda _, data: parts.append(data)})()
    try:
        httptools.HttpResponseParser(reader).feed_data(raw)
    except httptools.HttpParserError:
        return None
    return b"".join(parts)


def arrivals(raw: bytes, pieces: list[bytes], times: list[float]) -> list[float]:
    """When each event had arrived whole."""
    ends = list(accumulate(len(piece) for piece in pieces))
    return [times[bisect_left(ends, event.end())] for event in re.finditer(rb"\n\n", raw)]


async def connected(port: int, streams: int, waves: int, blame: Blame) -> list[Stream]:
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(streams):
        try:
            _, client = await loop.create_connection(
                lambda: Stream(waves, blame, loop.create_future()), "127.0.0.1", port
            )
            clients.append(client)
        except OSError:
            blame("no connection")
        if number % 16 == 15:
            await asyncio.sleep(CALM_S)
    for number, client in enumerate(clients):
        loop.call_later(number // 16 * CALM_S, client.ask)
    return clients


async def streams(port: int, count: int, waves: int, check: str, limit_s: float) -> dict[str, object]:
    blame = Blame()
    clients = await connected(port, count, waves, blame)
    own = time.process_time()
    _, late = await asyncio.wait([client.done for client in clients], timeout=limit_s)
    own = time.process_time() - own
    if late:
        blame.why["late"] = len(late)
    whole = 0
    events = 0
    first: list[float] = []
    gaps: list[float] = []
    for client in clients:
        for asked, pieces, times in client.kept:
            raw = b"".join(pieces)
            came = arrivals(raw, pieces, times)
            events += len(came)
            if came:
                first.append(came[0] - asked)
                gaps += [after - before for before, after in pairwise(came[: answers.CHUNKS])]
            body = body_of(raw)
            right = body is not None and (
                body == answers.STREAM_BODY if check == "exact" else answers.same_words(body)
            )
            whole += right
            if not right and raw.endswith(b"\r\n0\r\n\r\n"):
                blame("other bytes")
    return {
        "asked": count * waves,
        "whole": whole,
        "events": events,
        "bad": blame.why,
        "first_p50_ms": quantile(first, 0.50) * 1e3,
        "first_p99_ms": quantile(first, 0.99) * 1e3,
        "gap_p50_ms": quantile(gaps, 0.50) * 1e3,
        "gap_p99_ms": quantile(gaps, 0.99) * 1e3,
        "load_cpu_s": own,
    }


async def hold(port: int, count: int) -> None:
    """Every stream has said something when the line is printed."""
    blame = Blame()
    clients = await connected(port, count, 1, blame)
    _, silent = await asyncio.wait([client.first for client in clients], timeout=60)
    opened = sum(client.first.done() and not client.done.done() for client in clients)
    print(json.dumps({"open": opened, "silent": len(silent), "bad": blame.why}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main(command: str, port: str, count: str, *more: str) -> None:
    if command == "plain":
        found = uvloop.run(plain(int(port), int(count), float(more[0]), tuple(map(int, more[1:]))))
    elif command == "streams":
        found = uvloop.run(streams(int(port), int(count), int(more[0]), more[1], float(more[2])))
    else:
        uvloop.run(hold(int(port), int(count)))
        return
    print(json.dumps(found))


if __name__ == "__main__":
    process.allow_many_files()
    gc.disable()
    main(*sys.argv[1:])
