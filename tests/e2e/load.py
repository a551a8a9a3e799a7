"""Constant load, and what became of each request: the far side of the proofs that nobody notices a change.

Each client is a loop of its own: a request, its whole answer, a pause. They are plain or streaming, on a kept
connection or on a new one each time. A client behaves as the common ones do and no better: it does not reuse
a connection that the server has closed, it heeds `connection: close`, and it never sends a request twice.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

ANSWER_WITHIN_S = 60.0
KEPT_FAILURES = 50


@dataclass(frozen=True)
class Kind:
    """Of client."""

    name: str
    stream: bool = False
    keep: bool = True
    pause_s: float = 0.02
    """Between two requests, up to twice that."""
    tokens: int = 8
    """At least; each request asks for another number, so that an answer that is another's is noticed."""


KINDS = (
    Kind("plain kept"),
    Kind("plain new", keep=False, pause_s=0.1),
    Kind("stream kept", stream=True),
    Kind("stream new", stream=True, keep=False, pause_s=0.1),
    # Idle for longer than others take to answer: what a server closes too early is met here.
    Kind("plain rare", pause_s=1.0),
    Kind("stream long", stream=True, tokens=60),
)


@dataclass
class Tally:
    """Counts of a run."""

    requests: Counter[str] = field(default_factory=Counter)
    """By kind of client."""
    statuses: Counter[int] = field(default_factory=Counter)
    streams: int = 0
    """That began."""
    failed: int = 0
    broken: int = 0
    """Streams that began and did not end as they should."""
    failures: list[str] = field(default_factory=list)
    """The first ones, in words."""
    failed_at: list[float] = field(default_factory=list)
    """When each request failed or stream broke (time.monotonic)."""
    slowest_s: float = 0.0
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.requests.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.requests.items())
        return (
            f"{self.total} requests in {self.seconds:.0f} s ({kinds}): "
            f"{self.failed} failed, {self.broken} broken streams, slowest {self.slowest_s:.2f} s"
        )


class WrongError(Exception):
    """One request went wrong. `begun`: its stream had begun."""

    def __init__(self, why: str, *, begun: bool = False) -> None:
        super().__init__(why)
        self.begun = begun


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    key: str
    model: str
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    exact: bool = True
    """The backend sends a chunk for each token (the stand-in does)."""


class Load:
    """Runs in a thread until `stop`, or for `limit_s` at most."""

    def __init__(self, target: Target, kinds: tuple[Kind, ...] = KINDS, *, limit_s: float) -> None:
        self.target = target
        self.kinds = kinds
        self.tally = Tally()
        self._limit_s = limit_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Tally:
        self._stop.set()
        self._thread.join(ANSWER_WITHIN_S + 10)
        assert not self._thread.is_alive(), "a client still waits for its answer"
        return self.tally

    async def _run(self) -> None:
        began = time.monotonic()
        end = began + self._limit_s
        await asyncio.gather(*(self._client(number, kind, end) for number, kind in enumerate(self.kinds)))
        self.tally.seconds = time.monotonic() - began

    async def _client(self, number: int, kind: Kind, end: float) -> None:
        pauses = random.Random(number)
        connection: _Connection | None = None
        sent = 0
        while not self._stop.is_set() and time.monotonic() < end:
            sent += 1
            began = time.monotonic()
            if connection is not None and not connection.usable:
                connection.close()
                connection = None
            reused = connection is not None
            self.tally.requests[kind.name] += 1
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    connection = connection or await _connect(self.target)
                    await self._ask(connection, kind, kind.tokens + sent % 7)
            except (WrongError, OSError, EOFError, TimeoutError) as error:
                self._failed(kind, error, began, reused=reused)
                if connection is not None:
                    connection.close()
                connection = None
            self.tally.slowest_s = max(self.tally.slowest_s, time.monotonic() - began)
            if connection is not None and not kind.keep:
                connection.close()
                connection = None
            await asyncio.sleep(pauses.uniform(0, 2 * kind.pause_s))
        if connection is not None:
            connection.close()

    def _failed(self, kind: Kind, error: Exception, began: float, *, reused: bool) -> None:
        tally = self.tally
        tally.failed_at.append(time.monotonic())
        if isinstance(error, WrongError) and error.begun:
            tally.broken += 1
        else:
            tally.failed += 1
        if len(tally.failures) < KEPT_FAILURES:
            at = time.strftime("%H:%M:%S", time.localtime())
            how = "a kept connection" if reused else "a new connection"
            tally.failures.append(
                f"{at} {kind.name}, {how}, after {time.monotonic() - began:.3f} s: {error!r}"
            )

    async def _ask(self, connection: _Connection, kind: Kind, tokens: int) -> None:
        target = self.target
        body: dict[str, Any] = {
            "model": target.model,
            "messages": [{"role": "user", "content": "Say something."}],
            "max_tokens": tokens,
            "stream": kind.stream,
            "ignore_eos": True,
        }
        if kind.stream:
            body["stream_options"] = {"include_usage": True}
        status, headers = await connection.send(target, json.dumps(body).encode(), keep=kind.keep)
        self.tally.statuses[status] += 1
        if status != 200:
            raise WrongError(f"{status} {(await connection.whole(headers))[:300]!r}")
        if not kind.stream:
            check_answer(json.loads(await connection.whole(headers)), tokens)
            return
        self.tally.streams += 1
        try:
            pieces = [piece async for piece in connection.pieces(headers)]
        except (OSError, EOFError, TimeoutError) as error:
            raise WrongError(f"the stream broke off: {error!r}", begun=True) from None
        check_stream(b"".join(pieces), tokens, exact=target.exact)


def check_answer(answer: dict[str, Any], tokens: int) -> None:
    """Raises WrongError."""
    choices, used = answer.get("choices"), answer.get("usage") or {}
    if not choices or not choices[0]["message"]["content"]:
        raise WrongError(f"no completion: {str(answer)[:300]}")
    if used.get("completion_tokens") != tokens:
        raise WrongError(f"{used.get('completion_tokens')} of {tokens} tokens")


def check_stream(text: bytes, tokens: int, *, exact: bool) -> None:
    """Every event is read; the last two are the usage and [DONE]. Raises WrongError."""
    if not text.endswith(b"data: [DONE]\n\n"):
        raise WrongError(f"the stream ended without [DONE]: ...{text[-300:]!r}", begun=True)
    used, chunks = None, 0
    for event in text.removesuffix(b"data: [DONE]\n\n").removesuffix(b"\n\n").split(b"\n\n"):
        try:
            data = json.loads(event.removeprefix(b"data: "))
        except ValueError:
            raise WrongError(f"an event that is no JSON: {event[:200]!r}", begun=True) from None
        if "error" in data:
            raise WrongError(f"an error in the stream: {event[:300]!r}", begun=True)
        chunks += sum(bool(choice["delta"].get("content")) for choice in data["choices"])
        used = data.get("usage") or used
    if used is None or used["completion_tokens"] != tokens:
        raise WrongError(f"the usage says {used} for {tokens} tokens", begun=True)
    if chunks != tokens if exact else not chunks:
        raise WrongError(f"{chunks} chunks of {tokens} tokens", begun=True)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._keep = True

    @property
    def usable(self) -> bool:
        """As clients look before they reuse: neither side has closed it."""
        return self._keep and not self._reader.at_eof() and not self._writer.is_closing()

    async def send(self, target: Target, body: bytes, *, keep: bool) -> tuple[int, dict[str, str]]:
        """The answer's status and headers."""
        self._writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: %b\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\nconnection: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (
                (target.server_name or target.host).encode(),
                target.key.encode(),
                b"keep-alive" if keep else b"close",
                len(body),
                body,
            )
        )
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        self._keep = headers.get("connection", "").lower() != "close"
        return int(line.split(" ")[1]), headers

    async def whole(self, headers: dict[str, str]) -> bytes:
        return b"".join([piece async for piece in self.pieces(headers)])

    async def pieces(self, headers: dict[str, str]) -> AsyncIterator[bytes]:
        if headers.get("transfer-encoding") != "chunked":
            if "content-length" in headers:
                yield await self._reader.readexactly(int(headers["content-length"]))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")

    def close(self) -> None:
        self._writer.transport.abort()


async def _connect(target: Target) -> _Connection:
    name = target.server_name if target.tls else None
    reader, writer = await asyncio.open_connection(
        target.host, target.port, ssl=target.tls, server_hostname=name
    )
    return _Connection(reader, writer)


@contextmanager
def under_load(target: Target, kinds: tuple[Kind, ...] = KINDS, *, limit_s: float) -> Iterator[Load]:
    """Constant load while the block runs. `Load.tally` is complete afterwards."""
    load = Load(target, kinds, limit_s=limit_s)
    load.start()
    try:
        yield load
    finally:
        load.stop()
