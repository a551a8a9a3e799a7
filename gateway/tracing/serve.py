"""Serve and Attempts that also put down what happened, for who traces. What they do is what those do.

A trace begins where a call is let in (`_admit`), and is sent when it is settled. Of calls alone: health,
metrics and admin have none, nor has what the guard refuses.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any

from gateway import trace as w3c
from gateway.asked import Call
from gateway.attempts import Attempts
from gateway.client import Reply, UpstreamFailed
from gateway.live import Live
from gateway.net.server import Exchange
from gateway.note import Note
from gateway.policy.balancer import Backend, Full, Nobody, Place
from gateway.serve import Control, Serve
from gateway.trace import Attempt, Finished, Trace, Wait
from gateway.tracing.export import Exporter
from gateway.wire.request import RequestHead


class TracedServe(Serve):
    def __init__(self, live: Live, control: Control, exporter: Exporter) -> None:
        super().__init__(live, control)
        self._attempts = TracedAttempts(live)
        self._exporter = exporter
        self._share = live.settings.config.tracing.sample

    def _admit(self, exchange: Exchange, note: Note) -> None:
        note.trace = begun(exchange.head, self._share)
        super()._admit(exchange, note)

    def _settle(self, note: Note) -> None:
        super()._settle(note)
        trace: Trace | None = getattr(note, "trace", None)
        if trace is not None:
            told = self._live.settings.config.audit.tenant == "plain"
            self._exporter.put(finished(note, trace, tenant=note.tenant if told else None))


class TracedAttempts(Attempts):
    def send(
        self, exchange: Exchange, call: Call, backend: Backend, note: Note, *, fresh: bool = False
    ) -> Coroutine[Any, Any, Reply]:
        trace = note.trace
        if trace is None:
            return super().send(exchange, call, backend, note, fresh=fresh)
        now = time.monotonic()
        attempt = Attempt(w3c.new_span_id(), backend.id, backend.host, backend.port, now)
        trace.attempts.append(attempt)
        exchange.head.put(w3c.PARENT, w3c.line(trace.trace_id, attempt.span_id, sampled=True))
        try:
            sent = super().send(exchange, call, backend, note, fresh=fresh)
        except UpstreamFailed as failed:
            _over(attempt, _why(failed))
            raise
        return _watched(sent, attempt)

    async def _sent_to_two(self, exchange: Exchange, call: Call, note: Note) -> Reply:
        trace = note.trace
        before = 0 if trace is None else len(trace.attempts)
        try:
            return await super()._sent_to_two(exchange, call, note)
        finally:  # the one whose answer does not count ends here, whatever it was doing
            for attempt in () if trace is None else trace.attempts[before:]:
                if attempt.backend != note.backend:
                    _over(attempt, f"upstream_{attempt.status}" if attempt.status >= 400 else w3c.LEFT)

    def _give_up(self, note: Note, why: str, without: tuple[Backend, ...]) -> tuple[Backend, ...]:
        if note.trace is not None:
            _over(note.trace.attempts[-1], why)
        return super()._give_up(note, why, without)

    async def _wait(
        self, call: Call, note: Note, key: bytes, without: tuple[Backend, ...], chosen: Full | Nobody | Place
    ) -> Place:
        began_at = time.monotonic()
        try:
            return await super()._wait(call, note, key, without, chosen)
        finally:
            if note.trace is not None:
                note.trace.waits.append(Wait(began_at, time.monotonic(), "place"))

    async def _turn(self, note: Note) -> bool:
        began_at = time.monotonic()
        try:
            return await super()._turn(note)
        finally:
            if note.trace is not None:
                note.trace.waits.append(Wait(began_at, time.monotonic(), "retry"))


def begun(head: RequestHead, share: float) -> Trace | None:
    """None: it is not recorded. The head says from here on what is passed to a backend.

    `share`: of the calls that bring no trace, how many begin one that is recorded.
    """
    value = head.get(w3c.PARENT)
    parent = None if value is None else w3c.read(value)
    if parent is not None:
        if (more := [state for name, state in head.headers if name == w3c.STATE])[1:]:
            head.put(w3c.STATE, b",".join(more))
        return Trace(parent.trace_id, parent.span_id) if parent.sampled else None
    head.put(w3c.STATE, None)
    trace_id = w3c.new_trace_id()
    if share < 1 and random.random() >= share:  # noqa: S311 - a sample
        head.put(w3c.PARENT, w3c.line(trace_id, w3c.new_span_id(), sampled=False))
        return None
    return Trace(trace_id, None)


def finished(note: Note, trace: Trace, *, tenant: str | None) -> Finished:
    exchange, usage = note.exchange, note.usage
    tokens = None
    if usage is not None:
        cached = usage.cached_tokens if usage.prompt_tokens_details is not None else 0
        tokens = usage.prompt_tokens, cached or 0, usage.completion_tokens or 0
    return Finished(
        trace=trace,
        wall_ns=time.time_ns(),
        at=time.monotonic(),
        began_at=note.began_at,
        first_at=note.first_at,
        method=exchange.head.method.decode("latin-1"),
        path=exchange.head.path.decode("latin-1"),
        request_id=exchange.id,
        status=note.status,
        outcome=note.outcome,
        reason=note.reason,
        stream=note.stream,
        tenant=tenant,
        model=note.model,
        backend=note.backend,
        cache=note.cache,
        tokens=tokens,
    )


async def _watched(sent: Coroutine[Any, Any, Reply], attempt: Attempt) -> Reply:
    try:
        reply = await sent
    except UpstreamFailed as failed:
        _over(attempt, _why(failed))
        raise
    except asyncio.CancelledError:
        _over(attempt, w3c.LEFT)
        raise
    attempt.status = reply.status
    return reply


def _over(attempt: Attempt, why: str) -> None:
    if not attempt.ended_at:
        attempt.ended_at, attempt.why = time.monotonic(), why


def _why(failed: UpstreamFailed) -> str:
    return f"timeout_{failed.phase}" if failed.timed_out else f"upstream_{failed.phase}"
