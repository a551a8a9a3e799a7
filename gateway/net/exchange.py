"""One request and its one response, as the handler sees them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from gateway.wire import framing
from gateway.wire.errors import Refused
from gateway.wire.request import RequestHead

if TYPE_CHECKING:
    from gateway.net.connection import Connection

BUFFER_BYTES: Final = 64 * 1024
"""Of a body that nobody has asked for yet; then reading stops."""

Handler = Callable[["Exchange"], Coroutine[Any, Any, None]]

_random = random.SystemRandom().getrandbits(64)
_bits: Final = random.Random(_random).getrandbits  # noqa: S311 - ids must differ, not be secret


def new_id(wall_ms: int) -> str:
    """`req_` + 48 bits of milliseconds + 64 random bits, in hex: sorts by time."""
    # Twice as fast as an f-string with two numbers in it.
    return "req_" + ((wall_ms & 0xFFFFFFFFFFFF) << 64 | _bits(64)).to_bytes(14, "big").hex()


class Exchange:
    """Either `respond`, or `start`, `write`..., `end`; else `abort`. With the client gone they do nothing."""

    __slots__ = (
        "_complete",
        "_connection",
        "_length",
        "_limit",
        "_pieces",
        "_refused",
        "_waiter",
        "bytes_received",
        "bytes_sent",
        "chunked",
        "cut",
        "ended",
        "head",
        "head_only",
        "id",
        "keep_alive",
        "peer",
        "received_at",
        "started",
        "status",
    )

    def __init__(self, connection: Connection, head: RequestHead, now: float) -> None:
        self._connection = connection
        self.head = head
        self.peer = connection.peer
        self.received_at = now
        """The loop's clock, seconds."""
        self.id = new_id(time.time_ns() // 1_000_000)
        self.head_only = head.method == b"HEAD"
        self.started = False
        """The status line is on its way: the status cannot change any more."""
        self.ended = False
        self.cut = False
        """The handler is cancelled because the drain limit was reached, not because the client left."""
        self.status = 0
        self.bytes_sent = 0
        """Of the response's body, without framing."""
        self.bytes_received = 0
        """Of the request's body."""
        self.keep_alive = head.keep_alive
        self.chunked = False
        self._length: int | None = None
        self._pieces: list[bytes] = []
        self._complete = False
        self._refused: Refused | None = None
        self._limit: int | None = None
        self._waiter: asyncio.Future[None] | None = None

    # The request's body.

    async def body(self, limit: int | None = None) -> bytes:
        """The whole body, once; at most `limit` bytes (default: the server's).

        Raises Refused (413, 408, 400).
        """
        if limit is None:
            limit = self._connection.http.body_bytes
        self._limit = limit
        length = self.head.content_length
        if self._refused is None and max(length or 0, self.bytes_received) > limit:
            self._refused = _too_large(limit)
        if not self._complete and self._refused is None:
            if self.head.expect_continue and not self.bytes_received:
                self._connection.write(framing.CONTINUE)
            self._waiter = self._connection.loop.create_future()
            self._connection.resume_reading()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._refused is not None:
            self._pieces.clear()
            raise self._refused
        pieces, self._pieces = self._pieces, []  # the caller's alone: it may let go of a large one early
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def wants_body(self) -> bool:
        """The handler waits for the body."""
        return self._waiter is not None

    @property
    def complete(self) -> bool:
        """The request's body has come as a whole."""
        return self._complete

    def take(self, piece: bytes) -> None:
        """The connection read a piece of the body."""
        self.bytes_received += len(piece)
        if self.ended or self._refused is not None:
            return
        if self._limit is not None and self.bytes_received > self._limit:
            self.refuse(_too_large(self._limit))
            return
        self._pieces.append(piece)
        if self._waiter is None and self.bytes_received > BUFFER_BYTES:
            self._connection.pause_reading()

    def take_end(self) -> None:
        self._complete = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def refuse(self, refused: Refused) -> None:
        """The body will not come, or must not: `body` raises this."""
        self._refused = refused
        self._pieces.clear()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The response.

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole response. `headers`: ready lines, each with its CRLF."""
        head = self._head(status, headers)
        if framing.bodiless(status):
            data = b"%b\r\n" % head
        elif self.head_only:
            data = b"%bcontent-length: %d\r\n\r\n" % (head, len(body))
        else:
            data = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
            self.bytes_sent = len(body)
        self.ended = True
        self._connection.write(data)

    def start(self, status: int, headers: bytes, length: int | None, first: bytes = b"") -> None:
        """The head of a body that comes by `write`. `length` None: chunked, or to the end for HTTP/1.0.

        `first`: a piece of the body, which leaves together with the head if it can.
        """
        self.chunked = length is None and not self.head.http10 and not framing.bodiless(status)
        if length is None and self.head.http10:
            self.keep_alive = False
        head = self._head(status, headers)
        if framing.bodiless(status):
            self._length = 0
        else:
            self._length = length
            if self.chunked:
                head += framing.CHUNKED
            elif length is not None:
                head += b"content-length: %d\r\n" % length
        head += b"\r\n"
        if first and self.chunked and not self.head_only:
            self.bytes_sent += len(first)
            head += framing.chunk(first)
            first = b""
        self._connection.write(head)
        self.write(first)

    def write(self, data: bytes) -> None:
        """A piece of the body. Raises RuntimeError when it is more than `start` promised."""
        if not data or self.ended or self.head_only:
            return
        self.bytes_sent += len(data)
        if self._length is not None and self.bytes_sent > self._length:
            self.abort()
            raise RuntimeError(f"more than the promised {self._length} bytes were written")
        self._connection.write(framing.chunk(data) if self.chunked else data)

    @property
    def blocked(self) -> bool:
        """The client does not read fast enough: `drain` would wait."""
        return self._connection.blocked is not None

    async def drain(self) -> None:
        """Waits while the client does not read fast enough."""
        blocked = self._connection.blocked
        if blocked is not None:
            await asyncio.shield(blocked)

    def end(self, last: bytes = b"") -> None:
        """The honest end. Fewer bytes than promised are cut off instead, so that the client can tell.

        `last`: a piece of the body, which leaves together with the end if it can.
        """
        if self.ended:
            return
        if self.head_only or not self.chunked:
            self.write(last)
            last = b""
        if self._length is not None and self.bytes_sent < self._length and not self.head_only:
            self.abort()
            return
        self.ended = True
        if self.chunked and not self.head_only:
            self.bytes_sent += len(last)
            self._connection.write(framing.chunk(last) + framing.LAST_CHUNK if last else framing.LAST_CHUNK)

    def abort(self) -> None:
        """Cuts the connection: what was sent cannot be ended honestly."""
        self.ended = True
        self.keep_alive = False
        self._connection.abort()

    def _head(self, status: int, headers: bytes) -> bytes:
        if self.started:
            raise RuntimeError("the response has already been started")
        self.started = True
        self.status = status
        if not self._complete or self._connection.draining:
            self.keep_alive = False
        connection = framing.CLOSE
        if self.keep_alive:
            connection = framing.KEEP_ALIVE if self.head.http10 else b""
        return b"%b%b%bx-request-id: %b\r\n%b" % (
            framing.status_line(status),
            headers,
            self._connection.date,
            self.id.encode(),
            connection,
        )


def _too_large(limit: int) -> Refused:
    return Refused(413, "body_too_large", f"The body is larger than {limit} bytes.")
