"""The edge that touches the world: sends what is due, and notes the time of every piece that comes back.

One thread, one loop, asyncio protocols; uvloop where it is installed. A time is taken before anything is read
of what arrived. Nothing is sent twice. A connection is used again within REUSE_S, before servers close it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from infctl.bench.observe import Rings, Watch
from infctl.bench.reading import Reading
from infctl.bench.record import Record, written
from infctl.bench.workload import Workload
from infctl.errors import BenchError

try:  # httptools comes with the gateway's own packages, which a bare `pip install infctl` leaves out
    from gateway.wire.response import END, Broken, ReplyHead, ResponseReader
except ModuleNotFoundError as missing:
    raise BenchError(
        f"a measurement needs the Python package {missing.name}, which is not installed here",
        hint="pip install 'infctl[gateway]'",
    ) from None

REUSE_S = 2.0
"""uvicorn closes an idle connection after 5 s, and a request must not cross that."""
CONNECT_S = 10.0
SWEEP_S = 0.05
REFUSED_PAUSE_S = 0.1
"""In a closed loop, before the next request after one that was refused."""
WAITING_MAX = 1_000_000
"""Requests that are due and have no place. More: the rate is far beyond the server, and the run ends."""
_TIMER_S = 0.001
"""How exact a timer of the loop is."""
_CALM_GAP_S = 0.005
"""With such a gap between arrivals, or a longer one, the last millisecond before each is spent looking."""


@dataclass(frozen=True, slots=True)
class Target:
    host: str
    port: int
    authority: str
    prefix: str = ""
    """Of the path: `/openai` of https://host/openai/v1."""
    key: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """How much, how long. An open loop has `arrivals`; a closed one has `concurrency` alone."""

    concurrency: int | None = None
    arrivals: Callable[[], Iterator[float]] | None = None
    gap_s: float = 0.0
    """Mean time between arrivals."""
    requests: int | None = None
    duration_s: float | None = None
    timeout_s: float = 600.0
    give_up_s: float = 5.0
    """So long without one answer, while connections are refused or cut: the server is gone."""


@dataclass(slots=True)
class Ran:
    """The log, and what the client saw of itself."""

    lines: list[bytes] = field(default_factory=list)
    """Of `record.written`, in the order in which requests ended."""
    ended: str = "complete"
    """complete, interrupted, server_gone or overrun."""
    why: str = ""
    took_us: int = 0
    began_wall: float = 0.0
    most_waiting: int = 0
    watched: dict[str, Any] = field(default_factory=dict)
    rings: Rings = ((), ())
    """How late the loop was, over the run."""


@dataclass(slots=True)
class Now:
    """For a progress line."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    in_flight: int = 0
    waiting: int = 0
    tokens: int = 0
    firsts_us: deque[int] = field(default_factory=lambda: deque(maxlen=50))
    """From send to the first piece, of the last requests."""


class _Connection(asyncio.Protocol):
    """One connection and the one answer it is about to read."""

    __slots__ = ("load", "reader", "reading", "served", "since", "transport")

    def __init__(self, load: Load) -> None:
        self.load = load
        self.reader = ResponseReader()
        self.reading: Reading | None = None
        self.served = 0
        self.since = 0.0
        """When it became idle."""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        now_us = self.load.now_us()
        reading = self.reading
        if reading is None:
            self.close()  # nothing was asked
            return
        if reading.first_byte_us is None:
            reading.first_byte_us = now_us
        for event in self.reader.feed(data):
            if type(event) is bytes:
                reading.body(event, now_us)
            elif event is END:
                reading.end(now_us)
                self.load.answered(self)
                return
            elif isinstance(event, ReplyHead):
                reading.head(event.status, event.headers)
            elif isinstance(event, Broken):
                reading.cut(event.reason, now_us)
        if reading.outcome is not None and reading.outcome != "ok" and reading.status == 200:
            self.load.answered(self)  # it failed; how it goes on is nobody's interest
        elif self.reader.done:
            self.load.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        reading = self.reading
        if reading is None:
            self.load.lost(self)
            return
        now_us = self.load.now_us()
        if exc is None:
            for event in self.reader.eof():
                if event is END:
                    reading.end(now_us)
                elif isinstance(event, Broken):
                    reading.cut(event.reason, now_us)
        if reading.outcome is None:
            reading.cut(str(exc or "the connection ended before the answer did"), now_us)
        self.load.answered(self)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


@dataclass(slots=True)
class _Flight:
    """A request under way."""

    index: int
    due_us: int | None
    began_us: int
    asked_in: int
    asked_out: int
    body: bytes
    reading: Reading
    deadline: float
    sent_us: int | None = None
    reused: bool = False
    connection: _Connection | None = None


class Load:
    """One run of one workload: `await Load(...).run()`."""

    def __init__(
        self, target: Target, workload: Workload, shape: Shape, tell: Callable[[Now], None] | None = None
    ) -> None:
        self._target, self._workload, self._shape, self._tell = target, workload, shape, tell
        key = f"authorization: Bearer {target.key}\r\n" if target.key else ""
        self._head = (
            f"POST {target.prefix}{workload.path} HTTP/1.1\r\nhost: {target.authority}\r\n"
            f"user-agent: infctl-bench\r\naccept: */*\r\n{key}"
            "content-type: application/json\r\ncontent-length: "
        ).encode("latin-1")
        self.ran = Ran()
        self.now = Now()
        self._flights: dict[Reading, _Flight] = {}
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[int, int | None]] = deque()
        self._next = 0
        self._sending = True
        self._last_answer = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: list[float] = []
        """What each call of `tell` took."""

    def now_us(self) -> int:
        return int((time.perf_counter() - self._began) * 1e6)

    def stop(self, ended: str, why: str) -> None:
        """From a signal, or because there is no sense in going on: what is under way is given up."""
        if self._over.done():
            return
        self.ran.ended, self.ran.why = ended, why
        self._sending = False
        self._waiting.clear()
        for reading in list(self._flights):
            reading.give_up("aborted", why, self.now_us())
            self._finish(reading)
        if not self._over.done():
            self._over.set_result(None)

    async def run(self) -> Ran:
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        watch = Watch(self._loop)
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection would stand in the middle of somebody's time to first token
        self.ran.began_wall = time.time()
        self._began = self._last_answer = time.perf_counter()
        watch.start()
        try:
            self._sweep()
            self._begin()
            await self._over
        finally:
            self.ran.took_us = self.now_us()
            self.ran.watched = {**watch.stop(), **told(self._told)}
            self.ran.rings = watch.rings
            gc.enable()
            gc.unfreeze()
            await self._close()
        return self.ran

    # What is due

    def _begin(self) -> None:
        shape = self._shape
        if shape.arrivals is None:
            for _ in range(shape.concurrency or 1):
                self._follow()
        else:
            self._arrivals = shape.arrivals()
            self._due = next(self._arrivals, math.inf)
            self._tick()
        if shape.duration_s is not None:
            self._loop.call_later(shape.duration_s, self._no_more)

    def _no_more(self) -> None:
        self._sending = False
        self._check_over()

    def _may_send(self) -> bool:
        """Whether another request belongs to this run."""
        if self._shape.requests is not None and self._next >= self._shape.requests:
            self._sending = False
        return self._sending

    def _follow(self) -> None:
        """The closed loop: a place is free."""
        if self._may_send():
            self._take(self._next, None)

    def _tick(self) -> None:
        """The open loop: everything that is due by now."""
        while self._sending:
            if self._due == math.inf:  # a trace has an end
                self._sending = False
                break
            left = self._due - (time.perf_counter() - self._began)
            if left > 0:
                calm = self._shape.gap_s >= _CALM_GAP_S
                if left < _TIMER_S and calm:
                    self._loop.call_soon(self._tick)
                else:
                    self._loop.call_later(max(left - (_TIMER_S if calm else 0), _TIMER_S), self._tick)
                return
            ends = self._shape.duration_s
            if not self._may_send() or (ends is not None and self._due >= ends):
                self._sending = False
                break
            self._take(self._next, int(self._due * 1e6))
            self._due = next(self._arrivals, math.inf)
        self._check_over()

    def _take(self, index: int, due_us: int | None) -> None:
        self._next = index + 1
        most = self._shape.concurrency
        if most is not None and len(self._flights) >= most:
            self._waiting.append((index, due_us))
            self.ran.most_waiting = max(self.ran.most_waiting, len(self._waiting))
            if len(self._waiting) > WAITING_MAX:
                self.stop("overrun", f"more than {WAITING_MAX:,} requests wait for a place")
            return
        self._launch(index, due_us)

    def _launch(self, index: int, due_us: int | None) -> None:
        ask = self._workload.ask(index)
        workload = self._workload
        reading = Reading(stream=workload.stream, asked_out=ask.asked_out, exact=workload.exact)
        now = time.perf_counter()
        flight = _Flight(
            index=index,
            due_us=due_us,
            began_us=int((now - self._began) * 1e6),
            asked_in=ask.asked_in,
            asked_out=ask.asked_out,
            body=b"%b%d\r\n\r\n%b" % (self._head, len(ask.body), ask.body),
            reading=reading,
            deadline=now + self._shape.timeout_s,
        )
        self._flights[reading] = flight
        self.now.sent += 1
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is None or connection.transport.is_closing():
                continue
            if now - connection.since > REUSE_S:
                connection.close()
                continue
            self._send(flight, connection)
            return
        task = self._loop.create_task(self._dial(flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, flight: _Flight) -> None:
        target = self._target
        try:
            async with asyncio.timeout(min(CONNECT_S, self._shape.timeout_s)):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self),
                    target.host,
                    target.port,
                    ssl=target.tls,
                    server_hostname=target.host if target.tls else None,
                )
        except TimeoutError:
            flight.reading.give_up("refused", f"no connection within {CONNECT_S:g} s", self.now_us())
        except (OSError, ssl.SSLError) as error:
            flight.reading.give_up("refused", (error.strerror or str(error))[:200], self.now_us())
        else:
            if flight.reading in self._flights:
                self._send(flight, connection)
            else:
                connection.close()
            return
        self._finish(flight.reading)

    def _send(self, flight: _Flight, connection: _Connection) -> None:
        flight.connection = connection
        flight.reused = connection.served > 0
        connection.served += 1
        connection.reading = flight.reading
        connection.reader.begin(head_only=False)
        transport = connection.transport
        if transport is None:
            flight.reading.cut("closed", self.now_us())
            self._finish(flight.reading)
            return
        flight.sent_us = self.now_us()
        transport.write(flight.body)
        flight.body = b""

    # What came of it

    def answered(self, connection: _Connection) -> None:
        reading = connection.reading
        connection.reading = None
        if connection.reader.clean and connection.transport is not None:
            connection.since = time.perf_counter()
            self._idle.append(connection)
        else:
            connection.close()
        if reading is not None and reading in self._flights:
            self._finish(reading)

    def lost(self, connection: _Connection) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def _finish(self, reading: Reading) -> None:
        flight = self._flights.pop(reading)
        if flight.connection is not None and flight.connection.reading is reading:
            flight.connection.reading = None
            flight.connection.close()
        outcome = reading.outcome or "truncated"
        self._count(flight, reading, outcome)
        self.ran.lines.append(
            written(
                Record(
                    index=flight.index,
                    due_us=flight.due_us,
                    began_us=flight.began_us,
                    sent_us=flight.sent_us,
                    end_us=reading.end_us if reading.end_us is not None else self.now_us(),
                    outcome=outcome,
                    first_byte_us=reading.first_byte_us,
                    piece_us=reading.piece_us,
                    pieces="".join(reading.pieces),
                    # Of some pieces only it is no count of each.
                    piece_tokens=reading.piece_tokens
                    if len(reading.piece_tokens) == len(reading.piece_us)
                    else [],
                    status=reading.status,
                    detail=reading.detail,
                    finish=reading.finish,
                    asked_in=flight.asked_in,
                    asked_out=flight.asked_out,
                    tokens_in=reading.tokens_in,
                    tokens_out=reading.tokens_out,
                    tokens_cached=reading.tokens_cached,
                    reused=flight.reused,
                    request_id=reading.request_id,
                )
            )
        )
        if self._waiting:
            self._launch(*self._waiting.popleft())
        elif self._shape.arrivals is None and self._sending:
            if outcome in {"refused", "truncated", "malformed"}:
                self._loop.call_later(REFUSED_PAUSE_S, self._follow_later)
                return
            self._follow()
        self._check_over()

    def _follow_later(self) -> None:
        self._follow()
        self._check_over()

    def _count(self, flight: _Flight, reading: Reading, outcome: str) -> None:
        now = self.now
        if outcome == "ok":
            now.ok += 1
            now.tokens += reading.tokens_out or 0
            if reading.piece_us and flight.sent_us is not None:
                now.firsts_us.append(reading.piece_us[0] - flight.sent_us)
        elif outcome != "aborted":
            now.failed += 1
        if outcome not in {"refused", "truncated"}:
            self._last_answer = time.perf_counter()

    def _check_over(self) -> None:
        if not self._sending and not self._flights and not self._waiting and not self._over.done():
            self._over.set_result(None)

    def _sweep(self) -> None:
        """Deadlines, a server that is gone, and whoever watches."""
        if self._over.done():
            return
        now = time.perf_counter()
        late = [reading for reading, flight in self._flights.items() if flight.deadline < now]
        for reading in late:
            reading.give_up("timeout", f"not whole within {self._shape.timeout_s:g} s", self.now_us())
            self._finish(reading)
        refused = self.now.failed > 0 and not any(
            flight.reading.first_byte_us is not None for flight in self._flights.values()
        )
        if refused and now - self._last_answer > self._shape.give_up_s and self._dead():
            self.stop("server_gone", f"no answer for {self._shape.give_up_s:g} s, connections are refused")
            return
        if self._tell is not None:
            self.now.in_flight, self.now.waiting = len(self._flights), len(self._waiting)
            before = time.perf_counter()
            self._tell(self.now)
            self._told.append(time.perf_counter() - before)
        self._loop.call_later(SWEEP_S, self._sweep)

    def _dead(self) -> bool:
        """No connection is open: those under way are still being made."""
        return all(flight.connection is None for flight in self._flights.values())

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # their closing is done


def told(took: list[float]) -> dict[str, int]:
    """What showing the progress took of the loop: microseconds at p99, and in all."""
    ordered = sorted(took) or [0.0]
    return {
        "told_p99_us": int(ordered[int((len(ordered) - 1) * 0.99)] * 1e6),
        "told_us": int(sum(took) * 1e6),
    }


def run(load: Load, signals: Callable[[asyncio.AbstractEventLoop, Load], None] | None = None) -> Ran:
    """To the end, on a loop of its own. `signals`: what is to be heard while it runs."""

    async def main() -> Ran:
        if signals is not None:
            asyncio.get_running_loop().call_soon(signals, asyncio.get_running_loop(), load)
        return await load.run()

    try:
        import uvloop  # noqa: PLC0415 - not of the base install
    except ImportError:
        return asyncio.run(main())
    return uvloop.run(main())
