"""One call, sent until a backend answers or trying is over. What failed is released before the next try.

balancer.choose     a place at a backend, counted in            503
  -> client.send    the reply's head and its first bytes
  -> hedging.race   where that is asked for: the same at a second backend, when the first is silent for long
  -> retries        again, elsewhere, after a pause             policy/retry.py says when
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Coroutine
from typing import Any, Final

from gateway import hedging, metrics
from gateway.asked import Call
from gateway.client import Reply, UpstreamFailed
from gateway.live import Live
from gateway.net.exchange import Exchange
from gateway.note import Note
from gateway.policy.balancer import Backend, Full, Nobody, Place
from gateway.policy.breaker import Fact
from gateway.policy.deadline import place_s
from gateway.policy.retry import STATUSES, Again, GiveUp, deed
from gateway.policy.retry import TABLE as AGAIN
from gateway.refusal import Refusal
from gateway.stories import Step, seen

WHOLE_BYTES: Final = 1024 * 1024
"""A plain reply up to this size is read whole before its first byte is sent on: if broken, a clean 502."""
STALE_S: Final = 1.0
"""A kept connection that ends sooner, without a byte, was being closed before the request came."""

Opening = tuple[Reply, bytes, bool]
"""A reply, the first bytes of its body, and whether that is all of it."""


class Attempts:
    def __init__(self, live: Live) -> None:
        self.live = live

    async def opening(self, exchange: Exchange, call: Call, note: Note) -> Opening:
        """The reply that counts. Raises UpstreamFailed, Refusal (503).

        Whatever happens, `note` holds the reply to close and the place to release.
        """
        without: tuple[Backend, ...] = ()
        live, model = self.live, call.model.name
        key, loop = _key(exchange, call, live.settings.catalog.session), asyncio.get_running_loop()
        while True:
            chosen = live.admission.place(model, loop.time(), key, without)
            if type(chosen) is not Place:
                chosen = await self._wait(call, note, key, without, chosen)
            place = note.place = chosen
            backend = place.backend
            note.backend = backend.id
            failure, sent_at = None, loop.time()
            _put_down(note, live, backend, sent_at)
            try:
                if live.hedges.on and not note.attempts and hedging.may_be_doubled(call):
                    reply = await self._sent_to_two(exchange, call, note)
                else:
                    try:
                        reply = await self.send(exchange, call, backend, note)
                    except UpstreamFailed as failed:
                        if not _is_stale(failed, loop.time() - sent_at):
                            raise
                        reply = await self.send(exchange, call, backend, note, fresh=True)
                note.reply = reply
                if reply.status not in STATUSES:
                    if note.retrying:
                        note.retrying = False
                        live.retries.ended()
                    whole = reply.whole(WHOLE_BYTES)
                    return (reply, await reply.read(), False) if whole is None else (reply, whole, True)
                why = f"upstream_{reply.status}"
            except UpstreamFailed as failed:
                self._check(failed, note)
                failure, why = failed, f"upstream_{failed.phase}"
            who_failed = await self._next_try(call, note, why, failure, (*without, backend))
            if who_failed is None:
                return reply, await reply.read(), False
            without = who_failed

    def send(
        self, exchange: Exchange, call: Call, backend: Backend, note: Note, *, fresh: bool = False
    ) -> Coroutine[Any, Any, Reply]:
        """Await it. Raises UpstreamFailed."""
        if not note.attempts:
            note.sent_at = time.monotonic() - note.queued_s
        note.attempts += 1
        more = b""
        if note.hurried:  # who comes next on the way may keep to it as well
            left_s = note.deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                raise UpstreamFailed("send", "the request's deadline has passed", timed_out=True)
            more = b"x-request-timeout: %.3f\r\n" % left_s
        return self.live.client.send(
            backend, call, exchange.head, exchange.id, note.deadline, more, fresh=fresh
        )

    async def _sent_to_two(self, exchange: Exchange, call: Call, note: Note) -> Reply:
        """... and to a second one, when the first is silent for long. `note.place`: whose reply it is."""
        live, loop, place = self.live, asyncio.get_running_loop(), note.place
        assert place is not None  # noqa: S101 - the caller has just put it there
        model, sent_at, hands = call.model.name, loop.time(), _Hands(self, exchange, call, note)
        after_s = live.hedges.after_s(model, call.path)
        try:
            if after_s is None:
                reply = await hands.send(place)
            else:
                reply = await hedging.Race(live, model, note, place, hands).run(after_s)
        finally:
            note.backend = note.place.backend.id if note.place is not None else note.backend
        if reply.status == 200:
            live.hedges.answered(model, call.path, loop.time() - sent_at)
        return reply

    def _check(self, failure: UpstreamFailed, note: Note) -> None:
        """Raises what ends the trying: Refusal (503: the request has not left), UpstreamFailed."""
        assert note.place is not None  # noqa: S101 - an attempt has just failed there
        backend = note.place.backend
        if failure.ours:
            self.live.journal.event("warning", "no_connection", backend=backend.id, why=failure.reason)
            message = (
                f"The gateway has no connection left for this request: {failure.reason}. Try again in 1 s."
            )
            raise Refusal(503, "overloaded", message, headers=b"retry-after: 1\r\n") from None
        not_there(self.live, failure, backend)
        did = deed(connected=failure.phase != "connect", timed_out=failure.timed_out, begun=failure.begun)
        if not AGAIN[did]:
            raise failure

    async def _next_try(
        self, call: Call, note: Note, why: str, failure: UpstreamFailed | None, without: tuple[Backend, ...]
    ) -> tuple[Backend, ...] | None:
        """Returns when it is time for another try: who has failed so far. None: the failed reply stands.

        Raises `failure` where there is neither.
        """
        live, model = self.live, call.model.name
        verdict = self._again(call, note)
        if isinstance(verdict, GiveUp) and (failure is None or verdict.why != "budget"):
            if verdict.why != "nobody":
                live.metrics.count(metrics.RETRIES_REFUSED, (model, verdict.why))
            if failure is not None:
                raise failure
            return None
        assert note.place is not None  # noqa: S101 - an attempt has just failed there
        backend = note.place.backend
        without = self._give_up(note, why, without)
        if isinstance(verdict, Again):
            await asyncio.sleep(verdict.after_s)
        elif failure is not None and not await self._turn(note):
            live.metrics.count(metrics.RETRIES_REFUSED, (model, verdict.why))
            raise failure
        live.metrics.count(metrics.RETRIES, (model, backend.id, why))
        return without

    def _again(self, call: Call, note: Note) -> Again | GiveUp:
        """Is there a next try, and after which pause?"""
        live, place = self.live, note.place
        assert place is not None  # noqa: S101 - an attempt has just failed there
        now = asyncio.get_running_loop().time()
        model = call.model.name
        if live.balancer.look(model, now, (place.backend,)) is not None:
            return GiveUp("nobody")
        verdict = live.retries.decide(
            note.attempts,
            live.balancer.in_flight,
            note.deadline - now,
            random.random(),  # noqa: S311 - a pause, no secret
            counted=note.retrying,
        )
        note.retrying = note.retrying or isinstance(verdict, Again)
        return verdict

    async def _turn(self, note: Note) -> bool:
        """Waits until the budget has room for it. False: it will not have, or not in time."""
        retries, loop = self.live.retries, asyncio.get_running_loop()
        if retries.waiting >= self.live.settings.config.queue.waiting:
            return False
        began, turn = loop.time(), loop.create_future()
        number = retries.wait(lambda: turn.set_result(None))
        if number is None:
            return False
        try:
            async with asyncio.timeout_at(note.deadline):
                await asyncio.shield(turn)
        except BaseException as error:
            retries.leave(number)
            if not isinstance(error, TimeoutError):
                raise
            return False
        finally:
            note.queued_s += loop.time() - began
        note.retrying = True
        return True

    def _give_up(self, note: Note, why: str, without: tuple[Backend, ...]) -> tuple[Backend, ...]:
        """What failed is over: its connection closed, its place free for others. Who failed, now."""
        reply, note.reply = note.reply, None
        if reply is not None:
            reply.close()
        assert note.place is not None  # noqa: S101 - an attempt has just failed there
        backend = note.place.backend
        if note.story is not None:
            note.story.steps[-1].why = why
        fact: Fact = "neutral" if why == "upstream_503" else "failure"
        release(self.live, note, fact, failed=fact == "failure")
        return without if backend in without else (*without, backend)  # the second of two

    async def _wait(
        self, call: Call, note: Note, key: bytes, without: tuple[Backend, ...], chosen: Full | Nobody | Place
    ) -> Place:
        """For a place, where there was none at once. Raises Refusal (503)."""
        live, model = self.live, call.model.name
        now = asyncio.get_running_loop().time()
        if isinstance(chosen, Nobody) and without[:-1]:
            # All were tried: only the last one is not tried again.
            without = without[-1:]
            chosen = live.admission.place(model, now, key, without)
        if isinstance(chosen, Full):
            longest_s = live.settings.config.queue.longest_s(note.tenant)
            limit_s = place_s(longest_s, note.queued_s, note.deadline - now)
            try:
                chosen = await live.admission.wait(model, note.tenant, key, without, limit_s)
            finally:
                note.queued_s += asyncio.get_running_loop().time() - now
        if isinstance(chosen, Nobody):
            raise nobody(chosen, now)
        return chosen


def _put_down(note: Note, live: Live, backend: Backend, now: float) -> None:
    """For who asks why this one."""
    if note.story is not None:
        note.story.steps.append(Step(now, backend.id, seen(live.balancer.group(backend.model))))


def release(live: Live, note: Note, fact: Fact, *, failed: bool) -> None:
    """Gives the place back, once, to who waits for it."""
    place, note.place = note.place, None
    if place is not None:
        give_back(live, place, fact, failed=failed)


class _Hands:
    """What a race of two does at the backends, for one call."""

    __slots__ = ("_attempts", "_call", "_exchange", "_live", "_note")

    def __init__(self, attempts: Attempts, exchange: Exchange, call: Call, note: Note) -> None:
        self._attempts, self._live = attempts, attempts.live
        self._exchange, self._call, self._note = exchange, call, note

    async def send(self, place: Place) -> Reply:
        """Raises UpstreamFailed."""
        loop, send = asyncio.get_running_loop(), self._attempts.send
        sent_at = loop.time()
        try:
            return await send(self._exchange, self._call, place.backend, self._note)
        except UpstreamFailed as failed:
            if not _is_stale(failed, loop.time() - sent_at):
                raise
        return await send(self._exchange, self._call, place.backend, self._note, fresh=True)

    def broke(self, place: Place, what: Reply | UpstreamFailed) -> None:
        if isinstance(what, Reply):
            what.close()
            busy = what.status in {429, 503}
        else:
            not_there(self._live, what, place.backend)
            busy = what.ours or self._note.late
        give_back(self._live, place, "neutral" if busy else "failure", failed=not busy)

    def cut(self, place: Place) -> None:
        give_back(self._live, place, "neutral")


def not_there(live: Live, failure: UpstreamFailed, backend: Backend) -> None:
    """Where no connection is to be had there is no need to wait for a probe to say so."""
    if failure.phase != "connect" or failure.ours:
        return
    if backend.health.connect_failed(failure.reason, asyncio.get_running_loop().time()):
        live.journal.event("warning", "backend_down", backend=backend.id, why=failure.reason)


def give_back(live: Live, place: Place, fact: Fact, *, failed: bool = False) -> None:
    backend = place.backend
    if live.balancer.release(place, fact, asyncio.get_running_loop().time(), failed=failed):
        breaker_changed(live, backend)
    elif live.admission.lines:
        live.admission.pump(backend.model)


def breaker_changed(live: Live, backend: Backend) -> None:
    breaker = backend.breaker
    live.metrics.count(metrics.BREAKER_CHANGES, (backend.model, backend.id, breaker.state))
    level, pause_s = ("warning", breaker.pause_s) if breaker.state == "open" else ("info", None)
    live.journal.event(
        level, f"breaker_{breaker.state}", backend=backend.id, model=backend.model, pause_s=pause_s
    )
    live.admission.pump(backend.model)


def _key(exchange: Exchange, call: Call, session_header: bytes | None) -> bytes:
    """Of calls that belong to the same backend; empty: any will do."""
    if session_header is not None and (session := exchange.head.get(session_header)):
        return b"session " + session
    return call.prefix


def _is_stale(failure: UpstreamFailed, after_s: float) -> bool:
    """A kept connection that the backend was closing while the request was on its way: nobody read it."""
    return failure.reused and not failure.timed_out and after_s <= STALE_S


def nobody(found: Nobody, now: float) -> Refusal:
    """503, and when it may be different."""
    if found.retry_at is None:
        return Refusal(503, found.code, found.why)
    wait_s = max(1, math.ceil(found.retry_at - now))
    headers = b"retry-after: %d\r\n" % wait_s
    return Refusal(503, found.code, f"{found.why} Try again in {wait_s} s.", headers=headers)
