"""One client's connection: reads requests one after the other, runs the handler for each, writes the answers.

Rule 1: answers leave in the order of the requests: the next one is not read before the last one is answered.
Rule 2: a client that goes away cancels its handler.
Rule 3: a refusal is written, then the write side is closed, then what still comes is thrown away for 2 s,
        so that the client can read the answer instead of meeting a reset.
Rule 4: every buffer is bounded; full ones stop the reading.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Final, cast

from gateway.config import HttpLimits
from gateway.net.exchange import Exchange, new_id
from gateway.net.sender import Sender
from gateway.net.steps import Steps
from gateway.net.sweep import Wait, overdue
from gateway.wire import framing
from gateway.wire.errors import Refused
from gateway.wire.request import Event, RequestHead, RequestReader

if TYPE_CHECKING:
    from gateway.net.server import Server

HELD_BYTES: Final = 64 * 1024
"""Of pipelined requests that have to wait."""
_GONE: Final = getattr(select, "POLLRDHUP", 0)
LINGER_BYTES: Final = 16 * 1024 * 1024


class Connection(Sender):
    """A protocol of asyncio's in all but its base, an interpreted class that a compiled one cannot have."""

    __slots__ = (
        "_entered",
        "_lingered",
        "_reader",
        "_reading",
        "_running",
        "_server",
        "_since",
        "_steps",
        "_timeouts",
        "_wait",
        "blocked",
        "exchange",
        "http",
        "loop",
        "peer",
    )

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self.loop = server.loop
        self.http: HttpLimits = server.http
        self.peer = ""
        self.exchange: Exchange | None = None
        self.blocked: asyncio.Future[None] | None = None
        """Set while the client does not read fast enough."""
        self._entered = False
        self._steps: Steps | None = None
        """What all requests of this connection run in."""
        self._running = False
        """A request is under way."""
        self._reader = RequestReader(server.http)
        self._reading = True
        self._wait = Wait.FIRST
        self._since = self.loop.time()
        self._timeouts = server.timeouts
        self._lingered = 0

    # For the exchange and the server.

    @property
    def draining(self) -> bool:
        return self._server.draining

    @property
    def date(self) -> bytes:
        return self._server.date

    def abort(self) -> None:
        self.shut()
        self._transport.abort()

    def close_idle(self) -> None:
        if self.exchange is None:
            self._close()

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._since = self.loop.time()
            self._transport.resume_reading()

    def cut(self) -> None:
        """The drain limit is reached: the handler may still write an error event."""
        if self.exchange is not None and self._running:
            self.exchange.cut = True
            self._cancel()

    def sweep(self, now: float) -> None:
        timeouts = self._server.timeouts if self.exchange is None else self._timeouts
        if self.blocked is not None:
            if overdue(Wait.WRITE, self._since, now, timeouts):
                self.abort()
        elif overdue(self._wait, self._since, now, timeouts) or self._drips(now, timeouts.total_s):
            self._overdue()
        if not self._reading and not self._transport.is_closing() and self._left():
            self.abort()

    def _drips(self, now: float, total_s: float) -> bool:
        """A body of which something always comes, and that has not come when all should be over."""
        return (
            self._wait is Wait.BODY
            and self.exchange is not None
            and now - self.exchange.received_at >= total_s
        )

    def _left(self) -> bool:
        """Has the client gone? Asked for where nothing is read, so that its end cannot be."""
        found = select.poll()
        found.register(self._transport.get_extra_info("socket").fileno(), _GONE)
        return bool(found.poll(0))

    def _overdue(self) -> None:
        if self._wait is Wait.HEAD:
            self._refuse(Refused(408, "request_timeout", "The request's headers did not come in time."))
        elif self._wait is Wait.BODY:
            exchange = self.exchange
            if exchange is not None and exchange.wants_body:
                exchange.refuse(Refused(408, "request_timeout", "The request's body did not come in time."))
                self._wait = Wait.NOTHING
        elif self._wait is Wait.LINGER and self._transport.get_write_buffer_size():
            self._close()  # it has not even taken the answer yet
        elif self._wait in {Wait.LINGER, Wait.WRITE}:
            self.abort()
        else:
            self._close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opened(cast("asyncio.Transport", transport))
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        if not self._server.opened(self):
            limit = self.http.connections
            self._refuse(Refused(503, "overloaded", f"All {limit} connections are in use. Try again in 1 s."))

    def data_received(self, data: bytes) -> None:
        wait = self._wait
        if wait is Wait.LINGER:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.abort()
            return
        if self.exchange is None:
            if wait is not Wait.HEAD:
                self._wait = Wait.HEAD
                self._since = self.loop.time()
        elif wait is Wait.BODY:
            self._since = self.loop.time()
        events = self._reader.feed(data)
        if events:
            self._take(events, at_once=True)
        elif self._reader.done and self._reader.held > HELD_BYTES:
            self.pause_reading()

    def eof_received(self) -> bool:
        self.shut()
        return False  # the client has gone: the transport closes and connection_lost follows

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any cause is the same to us
        self.shut()
        self._server.lost(self)
        self._wait = Wait.NOTHING
        if self._running:
            self._cancel()
        elif self._steps is not None:
            self._steps.stop()
        if self.blocked is not None and not self.blocked.done():
            self.blocked.set_result(None)

    def pause_writing(self) -> None:
        self.blocked = self.loop.create_future()
        self._since = self.loop.time()

    def resume_writing(self) -> None:
        blocked, self.blocked = self.blocked, None
        self._since = self.loop.time()
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    # One request.

    def _take(self, events: list[Event], *, at_once: bool) -> None:
        """`at_once`: the request takes its first steps here and now."""
        begun = None
        for event in events:
            if isinstance(event, RequestHead):
                begun = self.exchange = Exchange(self, event, self.loop.time())
                self._wait = Wait.BODY
            elif isinstance(event, Refused):
                self._refused_by_reader(event)
                if begun is None:
                    return
            elif (exchange := self.exchange) is not None:
                if isinstance(event, bytes):
                    exchange.take(event)
                else:
                    exchange.take_end()
                    self._wait = Wait.NOTHING
        if begun is not None:
            self._timeouts = self._server.timeouts  # of this request, whatever a reload brings meanwhile
            self._server.begun()
            self._entered = False
            steps = self._steps
            if steps is None or steps.over or steps.cancelling:
                steps = self._steps = Steps(self.loop)
            self._running = True
            steps.begin(self._run(begun), at_once=at_once)

    def _refused_by_reader(self, refused: Refused) -> None:
        exchange = self.exchange
        if exchange is None:
            self._refuse(refused)
        else:
            exchange.refuse(refused)

    async def _run(self, exchange: Exchange) -> None:
        self._entered = True
        cancelled = True
        try:
            try:
                await self._server.handler(exchange)
            except Refused as refused:
                self._answer(exchange, refused)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the cause
                self._server.on_error(exchange, error)
            if not exchange.ended and not self._transport.is_closing():
                self._give_up(exchange)
            cancelled = False
        finally:
            self._ended(cancelled=cancelled)

    def _cancel(self) -> None:
        assert self._steps is not None  # noqa: S101 - a request is under way
        self._steps.cancel()
        if not self._entered:  # a task that is cancelled before its first step never takes it
            if self.exchange is not None:
                self._server.on_left(self.exchange)
            self._ended(cancelled=True)

    @staticmethod
    def _give_up(exchange: Exchange) -> None:
        """The handler returned without an end."""
        if exchange.started:
            exchange.abort()
        else:
            message = "The gateway failed to answer. The cause is in its log under this request's id."
            body = framing.error_body(message, "server_error", "internal_error")
            exchange.respond(500, framing.JSON, body)

    def _answer(self, exchange: Exchange, refused: Refused) -> None:
        self._server.on_refused(self.peer, refused, exchange.id)
        if exchange.started:
            exchange.abort()
            return
        if refused.close:
            exchange.keep_alive = False
        body = framing.error_body(refused.message, framing.error_type(refused.status), refused.code)
        exchange.respond(refused.status, framing.JSON, body)

    def _ended(self, *, cancelled: bool) -> None:
        """The handler is done, whatever way, even if it was cancelled before its first step."""
        self._server.ended()
        exchange, self.exchange, self._running = self.exchange, None, False
        if self._transport.is_closing() or exchange is None:
            if self._steps is not None:
                self._steps.stop()
            return
        if cancelled and not exchange.ended:
            exchange.abort()
        elif exchange.keep_alive:
            self._next()
        elif exchange.complete and not self._reader.held:
            self._close()
        else:
            self._linger()

    def _next(self) -> None:
        self._wait = Wait.IDLE
        self._since = self.loop.time()
        self.resume_reading()
        if self._reader.held:
            self._wait = Wait.HEAD
        self._take(self._reader.resume(), at_once=False)  # else each would begin within the one before

    def _close(self) -> None:
        """What was written still leaves, if the client takes it within the time-out."""
        self._wait = Wait.WRITE
        self._since = self.loop.time()
        self.shut()
        self._transport.close()

    # Refusals before there is an exchange.

    def _refuse(self, refused: Refused) -> None:
        request_id = new_id(self._server.wall_ms())
        body = framing.error_body(refused.message, framing.error_type(refused.status), refused.code)
        head = (
            framing.status_line(refused.status),
            framing.JSON,
            b"retry-after: 1\r\n" if refused.status == 503 else b"",
            self.date,
            f"x-request-id: {request_id}\r\ncontent-length: {len(body)}\r\n".encode(),
            framing.CLOSE,
            b"\r\n",
        )
        self.write(b"".join(head) + body)
        self._linger()
        self._server.on_refused(self.peer, refused, request_id)

    def _linger(self) -> None:
        self._wait = Wait.LINGER
        self._since = self.loop.time()
        self.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
