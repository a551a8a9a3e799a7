"""The client side: one pool of connections a backend, last in first out.

A connection goes back only when its reply was complete and the parser is clean; everything else aborts it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from gateway.config import Timeouts, Upstream
from gateway.net.budget import Budget
from gateway.net.failure import OURS, Phase, UpstreamFailed
from gateway.net.sender import Sender
from gateway.net.steps import Steps, current
from gateway.net.sweep import Wait, overdue, sweep_of
from gateway.wire.response import END, Broken, Event, ReplyHead, ResponseReader

__all__ = ["Pool", "Reply", "Sink", "UpstreamFailed"]

BUFFER_BYTES: Final = 256 * 1024
"""Of a reply that the client does not take fast enough; then reading from the backend stops."""


class Pool:
    """The connections to one backend. `budget`: shared with the other pools."""

    def __init__(
        self, host: str, port: int, upstream: Upstream, timeouts: Timeouts, budget: Budget | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.upstream = upstream
        self.timeouts = timeouts
        self.in_flight = 0
        self._budget = budget or Budget()
        self._budget.members.add(self)
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._connecting = 0
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections kept for later requests."""
        return len(self._idle)

    @property
    def connections(self) -> int:
        return len(self._all) + self._connecting

    def reconfigure(self, upstream: Upstream, timeouts: Timeouts) -> None:
        self.upstream = upstream
        self.timeouts = timeouts

    async def send(
        self, request: bytes, *, head_only: bool = False, fresh: bool = False, deadline: float | None = None
    ) -> Reply:
        """Sends one whole request; returns when the reply's head has come. `Reply.close` must follow.

        `fresh`: on a connection of its own, none that was kept. `deadline`: of the whole reply, by the loop's
        clock; None: timeouts.total_s from now. Raises UpstreamFailed.
        Cancelled: the connection is aborted.
        """
        self.in_flight += 1
        try:
            connection = self._take_idle() if self._idle and not fresh else await self._connect(deadline)
            reply = Reply(connection)
            try:
                head_came = connection.send(request, reply, deadline, head_only=head_only)
                request = b""  # a long wait for the first token need not hold it
                await head_came
            except BaseException:
                connection.abort()
                raise
        except BaseException:
            self.in_flight -= 1
            raise
        return reply

    async def close(self) -> None:
        """Cuts every connection. Replies under way fail."""
        self._closed = True
        self._budget.members.discard(self)
        self._budget.idle -= len(self._idle)
        self._idle.clear()
        for connection in tuple(self._all):
            connection.fail("the pool is closed")
        await asyncio.sleep(0)  # the transports close in the loop's next round
        sweep_of(asyncio.get_running_loop()).discard(self)

    def sweep(self, now: float) -> bool:
        for connection in tuple(self._all):
            connection.sweep(now)
        return bool(self._all)

    async def _connect(self, deadline: float | None) -> _Connection:
        if self._closed:
            raise UpstreamFailed("connect", "the pool is closed")
        if not self._budget.room(self.upstream.connections):
            reason = f"all {self.upstream.connections} connections to backends are in use"
            raise UpstreamFailed("connect", reason, ours=True)
        loop = asyncio.get_running_loop()
        self._connecting += 1
        self._budget.open += 1
        try:
            latest = loop.time() + self.timeouts.connect_s
            hurried = deadline is not None and deadline < latest
            async with asyncio.timeout_at(deadline if hurried else latest):
                _, made = await loop.create_connection(self._made, self.host, self.port)
        except TimeoutError:
            if hurried:  # that says nothing of the backend; a timer may ring a hair before its time
                raise UpstreamFailed("send", "the request's deadline has passed", timed_out=True) from None
            reason = f"no connection within {self.timeouts.connect_s:g} s"
            raise UpstreamFailed("connect", reason, timed_out=True) from None
        except OSError as error:
            ours = error.errno in OURS
            raise UpstreamFailed("connect", error.strerror or str(error), ours=ours) from None
        finally:
            self._connecting -= 1
            self._budget.open -= 1
        return cast("_Connection", made)

    def _made(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", _Connection(self, asyncio.get_running_loop()))

    def drop_idle(self) -> bool:
        """Closes the connection that was idle the longest, to make room. False: there is none."""
        if not self._idle:
            return False
        oldest = self._idle[0]
        self.lost(oldest)
        oldest.abort()
        return True

    def _take_idle(self) -> _Connection:
        self._budget.idle -= 1
        return self._idle.pop()

    # Called by connections.

    def opened(self, connection: _Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._all.add(connection)
        self._budget.open += 1
        sweep_of(loop).add(self)

    def keep(self, connection: _Connection) -> bool:
        """Takes a clean connection back; False: there is no room for it."""
        if self._closed or self._budget.idle >= self.upstream.keep_alive:
            return False
        self._budget.idle += 1
        self._idle.append(connection)
        return True

    def lost(self, connection: _Connection) -> None:
        if connection in self._all:
            self._all.discard(connection)
            self._budget.open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
            self._budget.idle -= 1


class Sink:
    """Where the pieces of a reply's body go."""

    def __init__(self, take: Callable[[bytes], bool]) -> None:
        self._take = take

    def take(self, piece: bytes) -> bool:
        """False: it takes no more for now. What it raises reaches who pumps."""
        return self._take(piece)


class Reply:
    """A reply whose head has come. Read it, then close it, always."""

    __slots__ = ("_connection", "headers", "length", "status")

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None

    def __init__(self, connection: _Connection) -> None:
        self._connection: _Connection | None = connection

    def take_head(self, head: ReplyHead) -> None:
        self.status, self.headers, self.length = head.status, head.headers, head.length

    def get(self, name: bytes) -> bytes | None:
        """The first header of that name (lower case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def overrun(self) -> bool:
        """Bytes follow the reply's end, so that its end may not be where its framing says."""
        return self._connection is not None and self._connection.overrun

    @property
    def ended(self) -> bool:
        """`read` would return at once, and nothing."""
        return self._connection is None or self._connection.ended

    def read(self) -> Coroutine[Any, Any, bytes]:
        """Await it: the bytes that have come since, b"" at the clean end.

        Raises UpstreamFailed(phase="body").
        """
        if self._connection is None:
            raise UpstreamFailed("body", "the reply was closed")
        return self._connection.read()

    def pump(self, sink: Sink) -> Coroutine[Any, Any, bool]:
        """Await it: every piece goes to `sink` in the moment it comes, with no task in between.

        Returns False once `sink` did, True at the clean end. Raises UpstreamFailed(phase="body"), and what
        `sink` raises.
        """
        if self._connection is None:
            raise UpstreamFailed("body", "the reply was closed")
        return self._connection.pump(sink)

    def whole(self, limit: int) -> bytes | None:
        """All of the body, when its end has come before anybody asked, as it does with the usual reply."""
        return None if self._connection is None else self._connection.whole(limit)

    async def read_all(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes. Raises UpstreamFailed."""
        if (whole := self.whole(limit)) is not None:
            return whole
        pieces, size = [], 0
        while piece := await self.read():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise UpstreamFailed("body", f"the reply is larger than {limit} bytes")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Back to the pool when complete, else the connection is aborted at once. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()


class _Connection(Sender):
    """A protocol as asyncio knows it, without its base: a compiled class has compiled ones only."""

    __slots__ = (
        "_body_begun",
        "_deadline",
        "_error",
        "_loop",
        "_moved",
        "_open",
        "_pieces",
        "_pool",
        "_reader",
        "_reading",
        "_reply",
        "_reused",
        "_since",
        "_sink",
        "_size",
        "_steps",
        "_timeouts",
        "_waiter",
        "_writing",
    )

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._sink: Sink | None = None
        self._reader = ResponseReader()
        self._waiter: asyncio.Future[None] | None = None
        self._steps: Steps | None = None
        """Who waits, where that can be stepped at once."""
        self._pieces: list[bytes] = []
        self._moved = False
        """A piece was handed on since the last sweep."""
        self._pool = pool
        self._loop = loop
        self._reply: Reply | None = None
        self._size = 0
        self._body_begun = False
        self._error: UpstreamFailed | None = None
        self._open = self._reading = self._writing = True
        self._reused = False
        self._since = loop.time()
        self._deadline = math.inf
        self._timeouts = pool.timeouts

    # What the pool and the reply ask for.

    def send(
        self, request: bytes, reply: Reply, deadline: float | None, *, head_only: bool
    ) -> asyncio.Future[None]:
        """Await it: the reply's head has come. Raises UpstreamFailed."""
        if not self._open:
            raise UpstreamFailed("connect", "the connection was closed", reused=self._reused)
        self._reply = reply
        self._reader.begin(head_only=head_only)
        self._pieces, self._size, self._body_begun = [], 0, False
        self._since = now = self._loop.time()
        self._timeouts = timeouts = self._pool.timeouts  # of this reply, whatever a reload brings meanwhile
        self._deadline = now + timeouts.total_s if deadline is None else deadline
        waiter = self._new_waiter()
        self._moved = False
        self.write(request)
        return waiter

    @property
    def overrun(self) -> bool:
        return self._reader.overrun

    @property
    def ended(self) -> bool:
        return self._reader.done and not self._pieces and self._error is None

    def whole(self, limit: int) -> bytes | None:
        """All of the body, when its end has come and nothing was read before."""
        if not self._reader.done or self._error is not None or self._size > limit or not self._reading:
            return None
        pieces, self._pieces, self._size = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read(self) -> bytes:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._reader.done:
                return b""
            self._since = self._loop.time()
            waiter = self._new_waiter()
            try:
                await waiter
            finally:
                self._waiter = None
        pieces, self._pieces, self._size = self._pieces, [], 0
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def pump(self, sink: Sink) -> bool:
        while piece := await self.read():
            if not sink.take(piece):
                return False
            if self._reader.done or self._error is not None:
                continue
            try:
                await self._hand_to(sink)
                if self._sink is None:
                    return False
            finally:
                self._waiter = self._sink = None
        return True

    def _hand_to(self, sink: Sink) -> asyncio.Future[None]:
        """Until there is more to see than pieces, or `sink` has enough."""
        self._sink = sink
        self._since = self._loop.time()
        return self._new_waiter()

    def _new_waiter(self) -> asyncio.Future[None]:
        """To be awaited at once."""
        steps = self._steps = current()
        waiter = self._waiter = self._loop.create_future() if steps is None else steps.waiter()
        return waiter

    def _woken(self, waiter: asyncio.Future[None], *, at_once: bool = False) -> None:
        """The waiter is done."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.woken(waiter, at_once=at_once)

    def release(self) -> None:
        pool = self._pool
        pool.in_flight -= 1
        self._reply = None
        self._pieces = []
        if self._open and self._reader.clean and self._writing and self._reading:
            self._reused = True
            self._since = self._loop.time()
            if pool.keep(self):
                return
        self.abort()

    def abort(self) -> None:
        self._reply = None
        self._open = False
        self.shut()
        self._transport.abort()

    def fail(self, reason: str, *, timed_out: bool = False) -> None:
        """The reply under way, if any, ends here; so does the connection."""
        if self._error is None:
            phase, begun = self._phase(), self._reader.begun
            reused = self._reused and not begun
            begun = self._body_begun if phase == "body" else begun
            self._error = UpstreamFailed(phase, reason, timed_out=timed_out, reused=reused, begun=begun)
        self._open = False
        self._wake()
        self.shut()
        self._transport.abort()

    def sweep(self, now: float) -> None:
        pool = self._pool
        if self._reply is None:
            # One that was never used is waited for: on a busy machine a round of the loop may last longer
            # than a kept connection may be idle.
            wait = Wait.POOLED if self._reused else Wait.WRITE
            if overdue(wait, self._since, now, pool.timeouts, pool.upstream.idle_s):
                pool.lost(self)
                self.abort()
            return
        if self._reader.done or self._error is not None:
            return
        if self._moved:  # when exactly is not worth a look at the clock for each piece
            self._moved, self._since = False, now
        timeouts = self._timeouts
        if now >= self._deadline:
            self.fail("the reply was not complete by the request's deadline", timed_out=True)
        elif not self._writing and overdue(Wait.WRITE, self._since, now, timeouts):
            self.fail(f"it has not read the request for {timeouts.stream_idle_s:g} s", timed_out=True)
        elif self._waits_for_a_piece() and overdue(Wait.PIECE, self._since, now, timeouts):
            self.fail(f"nothing came for {timeouts.stream_idle_s:g} s", timed_out=True)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opened(cast("asyncio.Transport", transport))
        self._since = self._loop.time()  # connecting took some of the time before
        self._pool.opened(self, self._loop)

    def data_received(self, data: bytes) -> None:
        if self._reply is None:  # nobody asked: whatever it is, it is no reply to the next request
            self._pool.lost(self)
            self.abort()
            return
        sink, reader = self._sink, self._reader
        if sink is None:
            self._since = self._loop.time()
            self._take(reader.feed(data), at_once=True)
            return
        piece = reader.chunks(data)
        if piece is not None:
            if not self._handed_on(sink, piece):
                self._since = self._loop.time()
                self._take([piece], at_once=True)
            return
        events = reader.feed(data)
        pieces = [event for event in events if isinstance(event, bytes)]
        if not pieces or len(pieces) != len(events) or not self._handed_on(sink, b"".join(pieces)):
            self._since = self._loop.time()
            self._take(events, at_once=True)

    def eof_received(self) -> None:
        self.shut()
        if self._reply is not None and self._error is None:
            self._take(self._reader.eof())

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self.shut()
        self._pool.lost(self)
        if self._reply is not None and not self._reader.done:
            if exc is None:
                self._take(self._reader.eof())
            else:
                self.fail(f"the connection was lost ({exc})")

    def pause_writing(self) -> None:
        self._writing = False
        self._since = self._loop.time()

    def resume_writing(self) -> None:
        self._writing = True

    def _waits_for_a_piece(self) -> bool:
        """A slow client is not a stopped stream: it counts only while somebody reads."""
        return self._waiter is not None and not self._pieces and self._phase() == "body"

    def _phase(self) -> Phase:
        if self._reply is not None and hasattr(self._reply, "status"):
            return "body"
        return "head" if self._writing else "send"

    def _handed_on(self, sink: Sink, piece: bytes) -> bool:
        """False: it is for `pump` to look at."""
        waiter = self._waiter
        if waiter is None or waiter.done() or self._pieces:
            return False
        self._moved = True
        try:
            if sink.take(piece):
                return True
            self._sink = None
            waiter.set_result(None)
        except Exception as error:  # noqa: BLE001 - it belongs to who pumps, not to the event loop
            waiter.set_exception(error)
        self._woken(waiter, at_once=True)
        return True

    def _take(self, events: list[Event], *, at_once: bool = False) -> None:
        """`at_once`: nothing follows, so that who waits may go on here and now."""
        for event in events:
            if isinstance(event, bytes):
                self._pieces.append(event)
                self._size += len(event)
                self._body_begun = True
            elif isinstance(event, ReplyHead):
                if self._reply is not None:
                    self._reply.take_head(event)
            elif isinstance(event, Broken):
                self.fail(event.reason)
                return
            else:
                assert event is END  # noqa: S101 - the union ends here
        if self._size > BUFFER_BYTES and self._reading and not self._reader.done:
            self._reading = False
            self._transport.pause_reading()
        if events:
            self._wake(at_once=at_once)

    def _wake(self, *, at_once: bool = False) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._error is not None and not self._pieces:
            waiter.set_exception(self._error)
        elif self._reply is None or hasattr(self._reply, "status"):
            waiter.set_result(None)
        else:
            return
        self._woken(waiter, at_once=at_once)
