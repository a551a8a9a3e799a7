"""ONE REQUEST, TOP TO BOTTOM. The file to read first.

    bytes -> RequestHead         the server's guard (gateway.wire)            400 408 413 414 431
      -> routes.match            what the path is for                         404 405
      -> gate.caller             whose key, which tenant                      401
      -> exchange.body           all of it, bounded                           413 408
      -> openai.read_call        strict JSON, types, the model, the splices   400 404
      -> balancer.choose         least in flight, counted in                  503
      -> client.send             the reply's head                             502 504
      -> _forward_...            pieces as they come, usage kept              502, or one error event
      -> _settle                 in ONE finally: count out, metrics, log line

A client that goes away cancels this coroutine (499); `Reply.close` cuts the backend's connection at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from gateway import routes
from gateway.client import Reply, UpstreamFailed, reply_lines
from gateway.live import Live
from gateway.net.server import Exchange, Refused
from gateway.note import Note
from gateway.openai import Call, read_call
from gateway.policy.balancer import Backend, Nobody
from gateway.refusal import Refusal
from gateway.relay import BrokenStream, Plain, Stream
from gateway.wire import framing

WHOLE_BYTES: Final = 1024 * 1024
"""A plain reply up to this size is read whole before its first byte is sent on: if broken, a clean 502."""

STALE_S: Final = 1.0
"""A kept connection that ends sooner, without a byte, was being closed before the request came."""
TAIL_S: Final = 1.0
"""For the end of a body whose last event has come."""
ERROR_BYTES: Final = 500
"""Of an error in an answer, repeated in ours."""

Control = Callable[[Exchange, routes.Route], Awaitable[None]]
"""Answers what is no call to a model."""

_EVENTS: Final = b"text/event-stream"
_DRAINING: Final = Refusal(
    503, "draining", "The gateway is stopping and could not finish this request in time. Send it again."
)
_TYPES: Final = {502: "upstream_error", 503: "overloaded", 504: "upstream_error"}


class Serve:
    """The server's handler."""

    def __init__(self, live: Live, control: Control) -> None:
        self._live = live
        self._control = control

    async def __call__(self, exchange: Exchange) -> None:
        live, head = self._live, exchange.head
        settings = live.settings
        note = Note(exchange, settings.gate.address(head.get(b"x-forwarded-for"), exchange.peer))
        backend: Backend | None = None
        reply: Reply | None = None
        try:
            route = routes.match(head.method, head.path)
            note.kind = route.kind
            if route.kind != "call":
                await self._control(exchange, route)
                return
            note.key_id = settings.gate.caller(head.get(b"authorization"), note.tenant).key_id
            body = await exchange.body()
            # A reload may have come with the body: the models of now, so that the balancer knows them too.
            call = read_call(route.path, body, live.settings.catalog)
            del body  # the call has what is sent: a long wait need not hold both
            note.model = call.model.name
            backend = self._choose(call)
            note.backend = backend.id
            reply = await self._send(exchange, call, backend, note)
            if reply.status == 200 and (reply.get(b"content-type") or b"").startswith(_EVENTS):
                await self._forward_stream(exchange, reply, Stream(call), note)
            else:
                await self._forward_plain(exchange, reply, note)
        except (Refusal, Refused) as refusal:
            if note.outcome == "ok":  # else it is known already whose fault it is
                note.end("refused", refusal.code)
            _refuse(exchange, _as_refusal(exchange, refusal), note)
        except (UpstreamFailed, BrokenStream) as failure:
            _refuse(exchange, self._failed(failure, backend, note), note)
        except asyncio.CancelledError:
            if not _cut_short(exchange, note):
                raise
        except Exception:
            note.end("failed", "internal_error")
            raise
        finally:
            if reply is not None:
                reply.close()
            self._settle(note, backend)

    async def _send(self, exchange: Exchange, call: Call, backend: Backend, note: Note) -> Reply:
        """Raises UpstreamFailed, Refusal (503: the request has not left)."""
        client, head = self._live.client, exchange.head
        note.attempts = 1
        began_at = time.monotonic()
        try:
            try:
                return await client.send(backend, call, head, exchange.id)
            except UpstreamFailed as failure:
                if not failure.reused or failure.timed_out or time.monotonic() - began_at > STALE_S:
                    raise
            # A kept connection that the backend was closing while the request was on its way: nobody read it.
            note.attempts = 2
            return await client.send(backend, call, head, exchange.id, fresh=True)
        except UpstreamFailed as failure:
            if not failure.ours:
                raise
            self._live.journal.event("warning", "no_connection", backend=backend.id, why=failure.reason)
            message = (
                f"The gateway has no connection left for this request: {failure.reason}. Try again in 1 s."
            )
            raise Refusal(503, "overloaded", message, headers=b"retry-after: 1\r\n") from None

    def _choose(self, call: Call) -> Backend:
        """Raises Refusal (503)."""
        chosen = self._live.balancer.choose(call.model.name)
        if not isinstance(chosen, Nobody):
            return chosen
        if chosen.retry_at is None:
            raise Refusal(503, chosen.code, chosen.why)
        wait_s = max(1, math.ceil(chosen.retry_at - asyncio.get_running_loop().time()))
        headers = b"retry-after: %d\r\n" % wait_s
        raise Refusal(503, chosen.code, f"{chosen.why} Try again in {wait_s} s.", headers=headers)

    async def _forward_stream(self, exchange: Exchange, reply: Reply, stream: Stream, note: Note) -> None:
        """Event by event. Raises UpstreamFailed, BrokenStream, Refusal."""
        _check_coding(reply, note)
        note.relay = stream
        note.stream = True
        try:
            while stream.ending == "open" and (piece := await reply.read()):
                out = stream.feed(piece)
                if note.first_at is None and stream.events:
                    note.first_at = time.monotonic()
                if out:
                    if not exchange.started:
                        exchange.start(reply.status, reply_lines(reply) + note.lines, None)
                    exchange.write(out)
                    await exchange.drain()
        except UpstreamFailed:  # behind the last event it has broken nothing
            if stream.ending == "open":
                raise
        stream.finish()
        exchange.end()
        if stream.ending == "error":
            note.end("upstream_error", "error_in_stream")
        else:
            note.end("ok")
        await _finish(reply)

    async def _forward_plain(self, exchange: Exchange, reply: Reply, note: Note) -> None:
        """Whole if short, else piece by piece. Raises UpstreamFailed, Refusal."""
        _check_coding(reply, note)
        relay = note.relay = Plain()
        long = reply.length is not None and reply.length > WHOLE_BYTES
        first, ended = (b"", False) if long else await _up_to(reply, WHOLE_BYTES)
        if ended or reply.status >= 400:
            body = relay.feed(first)
            if reply.status >= 400:
                _check_error(reply.status, body, note)
            else:
                _check_answer(reply, body, note)
            exchange.respond(reply.status, reply_lines(reply) + note.lines, body)
        else:
            exchange.start(reply.status, reply_lines(reply) + note.lines, reply.length)
            exchange.write(relay.feed(first))
            while piece := await reply.read():
                exchange.write(relay.feed(piece))
                await exchange.drain()
            exchange.end()
        if reply.status < 400:
            note.end("ok")
        elif reply.status < 500:
            note.end("rejected", f"upstream_{reply.status}")
        else:
            note.end("upstream_error", f"upstream_{reply.status}")

    def _failed(self, failure: UpstreamFailed | BrokenStream, backend: Backend | None, note: Note) -> Refusal:
        """The one ladder from what a backend did to what the client is told."""
        who = backend.id if backend is not None else "The backend"
        if isinstance(failure, BrokenStream):
            note.end("upstream_truncated", "upstream_error")
            return Refusal(502, "upstream_error", f"{who} broke off its answer: {failure}.")
        if failure.timed_out:
            note.end("upstream_timeout", f"timeout_{failure.phase}")
            message = f"{who} did not answer in time: {failure.reason}."
            refusal = Refusal(504, "upstream_timeout", message)
        elif failure.phase == "body":
            note.end("upstream_truncated", "upstream_error")
            refusal = Refusal(502, "upstream_error", f"{who} broke off its answer: {failure.reason}.")
        else:
            note.end("upstream_error", f"upstream_{failure.phase}")
            message = f"{who} gave no answer ({failure.reason}). Send the request again."
            refusal = Refusal(502, "upstream_error", message)
        if failure.phase == "connect" and backend is not None:
            now = asyncio.get_running_loop().time()
            if backend.health.connect_failed(failure.reason, now):
                self._live.journal.event("warning", "backend_down", backend=backend.id, why=failure.reason)
        return refusal

    def _settle(self, note: Note, backend: Backend | None) -> None:
        live = self._live
        if backend is not None:
            failed = note.outcome.startswith("upstream_") and note.exchange.status != 503
            live.balancer.release(backend, failed=failed)
        now = time.monotonic()
        note.count(live.metrics, now)
        if live.journal.requests and note.kind not in {"health", "live", "ready", "metrics"}:
            live.journal.request(note.line(live.journal.now(), now))


def _as_refusal(exchange: Exchange, refusal: Refusal | Refused) -> Refusal:
    """What the server refuses may cost the connection as well."""
    if isinstance(refusal, Refusal):
        return refusal
    exchange.keep_alive = exchange.keep_alive and not refusal.close
    return Refusal(refusal.status, refusal.code, refusal.message)


def _cut_short(exchange: Exchange, note: Note) -> bool:
    """The request was cancelled. True: by the drain, and the client was told."""
    if exchange.ended:
        return False  # all had been said: how it ended stands
    if not exchange.cut:
        note.end("client_gone", "client_closed_request")
        return False
    note.end("cut", _DRAINING.code)
    _refuse(exchange, _DRAINING, note)
    return True


def _refuse(exchange: Exchange, refusal: Refusal, note: Note) -> None:
    """The answer of ours: whole, or one event in a stream that has begun, else a cut."""
    kind = _TYPES.get(refusal.status) or framing.error_type(refusal.status)
    body = framing.error_body(refusal.message, kind, refusal.code, refusal.param)
    if not exchange.started:
        exchange.respond(refusal.status, framing.JSON + note.lines + refusal.headers, body)
    elif note.stream and not exchange.ended:
        exchange.write(b"data: %b\n\n" % body)
        exchange.end()
    elif not exchange.ended:
        exchange.abort()


async def _up_to(reply: Reply, limit: int) -> tuple[bytes, bool]:
    """A body's beginning of about `limit` bytes, and whether that is all of it. Raises UpstreamFailed."""
    if reply.length is not None and reply.length <= limit:
        return await reply.read_all(limit), True
    pieces, size = [], 0
    while size < limit and (piece := await reply.read()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces), size < limit


async def _finish(reply: Reply) -> None:
    """Behind a stream's last event only the end of the body can come; with it the connection is kept."""
    try:
        async with asyncio.timeout(TAIL_S):
            while await reply.read():
                pass
    except (TimeoutError, UpstreamFailed):
        pass


def _check_coding(reply: Reply, note: Note) -> None:
    """Raises Refusal for a coding that was not asked for: neither usage nor errors can be read through it."""
    coding = reply.get(b"content-encoding")
    if coding is not None and coding.lower() != b"identity":
        note.end("upstream_error", "upstream_encoding")
        shown = coding[:40].decode("latin-1")
        message = f"The backend answered in the coding {shown!r}, which was not asked for."
        raise Refusal(502, "upstream_error", message)


def _check_answer(reply: Reply, body: bytes, note: Note) -> None:
    """Raises Refusal for what no call of this API is answered with."""
    kind = reply.get(b"content-type") or b""
    if reply.status != 200:
        why = f"answered {reply.status}"
    elif kind.startswith((b"application/octet-stream", b"multipart/")):
        return  # embeddings as bytes
    elif body[:1] + body.rstrip()[-1:] not in {b"{}", b"[]"}:
        why = "answered 200 with a body that is not JSON"
    elif body.startswith((b'{"error"', b'{"object":"error"')):
        why = f"answered 200 with an error: {body[:ERROR_BYTES].decode('utf-8', 'replace')}"
    else:
        return
    note.end("upstream_error", "upstream_answer")
    raise Refusal(502, "upstream_error", f"The backend {why}.")


def _check_error(status: int, body: bytes, note: Note) -> None:
    """A backend's error passes when a client can read it. Raises Refusal for what would mislead it."""
    if status in {401, 403}:
        note.end("upstream_error", f"upstream_{status}")
        message = (
            "The backend refuses the gateway's own key: BACKEND_API_KEY does not fit. Tell the operator."
        )
        raise Refusal(502, "upstream_error", message)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not (isinstance(value, dict) and isinstance(value.get("error"), dict)):
        note.end("rejected" if status < 500 else "upstream_error", f"upstream_{status}")
        raise Refusal(status, "upstream_error", f"The backend answered {status} without saying why.")
