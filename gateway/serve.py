"""ONE REQUEST, TOP TO BOTTOM. The file to read first.

    bytes -> RequestHead         the server's guard (gateway.wire)            400 408 413 414 431
      -> routes.match            what the path is for                         404 405
      -> tenancy.caller          whose key, which tenant                      401
      -> exchange.body           all of it, bounded                           413 408
      -> openai.read_call        strict JSON, types, the model, the splices   400 403 404
      -> taking.take             from every limit of the tenant, or from none 429 503
      -> caching.find            kept, or being fetched for somebody else     200, x-cache: hit
      -> attempts.opening        a place, the first bytes; or again elsewhere 502 503 504
      -> _forward_...            pieces as they come, usage kept              502, or one error event
      -> _settle                 in ONE finally: counts, limits, metrics, log line

A client that goes away cancels this coroutine (499); `Reply.close` cuts the backend's connection at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from gateway import compression, routes
from gateway.asked import Call
from gateway.attempts import WHOLE_BYTES, Attempts, Opening, release
from gateway.client import Reply, UpstreamFailed, reply_lines
from gateway.live import Live
from gateway.logline import LogLines
from gateway.net.pool import Sink
from gateway.net.server import Exchange, Refused
from gateway.note import Note
from gateway.openai import read_call
from gateway.policy.cache import Answer
from gateway.refusal import Refusal
from gateway.relay import BrokenStream, Plain, Stream
from gateway.stories import Story
from gateway.taking import Taking, not_allowed
from gateway.wire import framing

TAIL_S: Final = 1.0
"""For the end of a body whose last event has come."""
ERROR_BYTES: Final = 500
"""Of an error in an answer, repeated in ours."""

Control = Callable[[Exchange, routes.Route], Awaitable[None]]
"""Answers what is no call to a model."""

_EVENTS: Final = b"text/event-stream"
_QUIET: Final = frozenset({"health", "live", "ready", "metrics"})
"""Neither logged nor audited."""
_DRAINING: Final = Refusal(
    503, "draining", "The gateway is stopping and could not finish this request in time. Send it again."
)
_TYPES: Final = {502: "upstream_error", 503: "overloaded", 504: "upstream_error"}


class Serve:
    """The server's handler."""

    def __init__(self, live: Live, control: Control) -> None:
        self._live = live
        self._control = control
        self._attempts = Attempts(live)
        self._taking = Taking(live)
        self._lines = LogLines()

    async def __call__(self, exchange: Exchange) -> None:  # noqa: C901 - the whole way, in one piece
        live, head = self._live, exchange.head
        settings = live.settings
        tenant = settings.gate.address(head.get(b"x-forwarded-for"), exchange.peer)
        note = Note(exchange, tenant, settings.config.timeouts.total_s)
        try:
            route = routes.match(head.method, head.path)
            note.kind = route.kind
            if route.kind != "call":
                await self._control(exchange, route)
                return
            if live.stories is not None:
                note.story = Story()
            self._admit(exchange, note)
            body = await exchange.body()
            note.read_at = time.monotonic()
            call = self._read(route.path, body, note)
            if (word := self._taking.take(call, note)) is not None:
                await word
            if call.digest is not None and await self._from_cache(exchange, call, note):
                return
            opening = await self._attempts.opening(exchange, call, note)
            reply = opening[0]
            if reply.status == 200 and (reply.get(b"content-type") or b"").startswith(_EVENTS):
                await self._forward_stream(exchange, opening, Stream(call), note)
            else:
                await self._forward_plain(exchange, opening, note)
        except (Refusal, Refused) as refusal:
            if note.outcome == "ok":  # else it is known already whose fault it is
                note.end("refused", refusal.code)
            _refuse(exchange, _as_refusal(exchange, refusal), note)
        except (UpstreamFailed, BrokenStream) as failure:
            _refuse(exchange, _failed(failure, note), note)
        except asyncio.CancelledError:
            if not _cut_short(exchange, note):
                raise
        except Exception:
            note.end("failed", "internal_error")
            raise
        finally:
            self._settle(note)

    def left(self, exchange: Exchange) -> None:
        """Before the first step of its request was taken its client went, or the drain limit was reached."""
        settings = self._live.settings
        tenant = settings.gate.address(exchange.head.get(b"x-forwarded-for"), exchange.peer)
        note = Note(exchange, tenant, settings.config.timeouts.total_s)
        with contextlib.suppress(Refusal):
            note.kind = routes.match(exchange.head.method, exchange.head.path).kind
        if exchange.cut:
            note.end("cut", _DRAINING.code)
        else:
            note.end("client_gone", "client_closed_request")
        self._settle(note)

    def _admit(self, exchange: Exchange, note: Note) -> None:
        """Who asks, and how long may it take. Raises Refusal (401, 400)."""
        head, audit = exchange.head, self._live.audit
        if audit is not None and audit.refusing:
            message = (
                "What is asked cannot be written into the audit trail now, and must be. Tell the operator."
            )
            raise Refusal(503, "audit_unavailable", message)
        tenancy = self._live.tenants.tenancy
        caller = note.caller = tenancy.caller(head.get(b"authorization"), note.tenant, time.time())
        note.tenant, note.key_id = caller.tenant, caller.key_id
        timeout = head.get(b"x-request-timeout")
        if timeout is not None:
            note.hurry(timeout)

    def _read(self, path: str, body: bytes, note: Note) -> Call:
        """What is asked. Raises Refusal (400, 403, 404)."""
        # A reload may have come with the body: the models of now, so that the balancer knows them too.
        settings = self._live.settings
        call = read_call(path, body, settings.catalog, settings.salts.of(note.tenant))
        note.model = call.model.name
        assert note.caller is not None  # noqa: S101 - found before the body was read
        terms = note.terms = self._live.tenants.tenancy.terms(note.caller, note.model)
        if terms.models is not None and note.model not in terms.models:
            raise not_allowed(note.tenant, note.model, terms.models)
        return call

    async def _from_cache(self, exchange: Exchange, call: Call, note: Note) -> bool:
        """True: answered. Else the answer to come may be one to keep."""
        assert call.digest is not None  # noqa: S101 - asked before
        control = exchange.head.get(b"cache-control")
        if control is not None and (b"no-cache" in control or b"no-store" in control):
            return False
        try:
            caching, model = self._live.caching, call.model.name
            found = await caching.find(note.tenant, model, call.digest, note.deadline)
        except TimeoutError:
            message = "The same call of another client was not answered within this request's time."
            raise Refusal(504, "upstream_timeout", message) from None
        note.cache = "hit" if isinstance(found, Answer) else "miss"
        note.lines += b"x-cache: %b\r\n" % note.cache.encode()
        if isinstance(found, Answer):
            body, lines = await self._packed(exchange, found.body, found.lines)
            exchange.respond(200, lines + note.lines, body)
            return True
        note.flight = found
        return False

    async def _forward_stream(self, exchange: Exchange, opening: Opening, stream: Stream, note: Note) -> None:
        """Event by event. Raises UpstreamFailed, BrokenStream, Refusal."""
        reply, piece, _ = opening
        _check_coding(reply, note)
        note.relay = stream
        note.stream = True
        onward = _Onward(stream, exchange)
        try:
            await self._begin_stream(exchange, reply, piece, stream, note)
            while stream.open and not await reply.pump(onward):
                await exchange.drain()
        except UpstreamFailed:  # behind the last event it has broken nothing
            if stream.open:
                raise
        if stream.ending == "broken":
            exchange.write(onward.last)
        stream.finish()
        exchange.end(onward.last)
        if stream.ending == "error":
            note.end("upstream_error", "error_in_stream")
        else:
            note.end("ok")
        await _finish(reply)

    @staticmethod
    async def _begin_stream(
        exchange: Exchange, reply: Reply, piece: bytes, stream: Stream, note: Note
    ) -> None:
        """Up to the first bytes for the client: what breaks before them can still be told by a status."""
        while piece and stream.open:
            out = stream.feed(piece)
            if note.first_at is None and stream.events:
                note.first_at = time.monotonic()
            if out:
                exchange.start(reply.status, reply_lines(reply) + note.lines, None, out)
                return
            piece = await reply.read()

    async def _forward_plain(self, exchange: Exchange, opening: Opening, note: Note) -> None:
        """Whole if short, else piece by piece. Raises UpstreamFailed, Refusal."""
        reply, first, ended = opening
        _check_coding(reply, note)
        relay = note.relay = Plain()
        if not ended and (reply.length is None or reply.length <= WHOLE_BYTES):
            first, ended = await _up_to(reply, first, WHOLE_BYTES)
        if ended or reply.status >= 400:
            body = relay.feed(first)
            if reply.status >= 400:
                _check_error(reply.status, body, note)
            else:
                _check_answer(reply, body, note)
                if note.flight is not None:
                    note.flight.answer = Answer(reply_lines(reply), body)
            lines = reply_lines(reply)
            if len(body) >= compression.LEAST_BYTES:
                body, lines = await self._packed(exchange, body, lines)
            exchange.respond(reply.status, lines + note.lines, body)
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

    async def _packed(self, exchange: Exchange, body: bytes, lines: bytes) -> tuple[bytes, bytes]:
        """A whole answer as its client gets it: in gzip, if it asked for that."""
        if not self._live.settings.config.http.compression:
            return body, lines
        body, more = await compression.packed(body, exchange.head.get(b"accept-encoding"))
        return body, lines + more

    def _settle(self, note: Note) -> None:
        live = self._live
        if note.reply is not None:
            note.reply.close()
        if note.place is not None:
            fact = note.fact
            release(live, note, fact, failed=fact == "failure")
        if note.flight is not None:
            live.caching.landed(note.flight, left=note.outcome in {"client_gone", "cut", "failed"})
        if note.retrying:
            live.retries.ended()
        now = time.monotonic()
        note.count(live.metrics, now)
        if note.ticket is not None:
            self._taking.end(note.ticket, note)
        if (live.journal.requests or live.audit is not None or note.story) and note.kind not in _QUIET:
            redactor = None if live.recording is None else live.recording.redactor
            line, clean = self._lines.line(note, live.journal.now(), now, redactor)
            if live.journal.requests:
                live.journal.request(line, clean=clean)
            if note.story is not None and live.stories is not None:
                live.stories.keep(line, note.story, note.exchange.received_at)
            if live.audit is not None:
                live.audit.request(line, note.exchange.peer, clean=clean)


class _Onward(Sink):
    """One piece to the client, in the moment it comes from the backend."""

    def __init__(self, stream: Stream, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange
        self.last = b""
        """What comes with the stream's end, to leave together with that of the body."""

    def take(self, piece: bytes) -> bool:
        stream, exchange = self._stream, self._exchange
        out = stream.feed(piece)
        if not stream.open:
            self.last = out
            return False
        if out:
            exchange.write(out)
        return not exchange.blocked


def _failed(failure: UpstreamFailed | BrokenStream, note: Note) -> Refusal:
    """The one ladder from what a backend did to what the client is told."""
    who = note.backend or "The backend"
    if isinstance(failure, BrokenStream):
        note.end("upstream_truncated", "upstream_error")
        return Refusal(502, "upstream_error", f"{who} broke off its answer: {failure}.")
    if failure.timed_out:
        note.end("upstream_timeout", "deadline" if note.late else f"timeout_{failure.phase}")
        message = f"{who} did not answer in time: {failure.reason}."
        refusal = Refusal(504, "upstream_timeout", message)
    elif failure.phase == "body":
        note.end("upstream_truncated", "upstream_error")
        refusal = Refusal(502, "upstream_error", f"{who} broke off its answer: {failure.reason}.")
    else:
        note.end("upstream_error", f"upstream_{failure.phase}")
        message = f"{who} gave no answer ({failure.reason}). Send the request again."
        refusal = Refusal(502, "upstream_error", message)
    return refusal


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
    kind = refusal.type or _TYPES.get(refusal.status) or framing.error_type(refusal.status)
    if note.story is not None:
        note.story.message = refusal.message
    body = framing.error_body(refusal.message, kind, refusal.code, refusal.param)
    if not exchange.started:
        exchange.respond(refusal.status, framing.JSON + note.lines + refusal.headers, body)
    elif note.stream and not exchange.ended:
        exchange.write(b"data: %b\n\n" % body)
        exchange.end()
    elif not exchange.ended:
        exchange.abort()


async def _up_to(reply: Reply, first: bytes, limit: int) -> tuple[bytes, bool]:
    """A body's beginning of about `limit` bytes, and whether that is all of it. Raises UpstreamFailed."""
    pieces, size = [first], len(first)
    while first and size < limit and (piece := await reply.read()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces), size < limit


async def _finish(reply: Reply) -> None:
    """Behind a stream's last event only the end of the body can come; with it the connection is kept."""
    if reply.ended:  # mostly it came with that event
        return
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
    elif reply.overrun and not _is_json(body):
        why = "answered 200 with a body that its own content-length cuts short"
    elif body.startswith((b'{"error"', b'{"object":"error"')):
        why = f"answered 200 with an error: {body[:ERROR_BYTES].decode('utf-8', 'replace')}"
    else:
        return
    note.end("upstream_error", "upstream_answer")
    raise Refusal(502, "upstream_error", f"The backend {why}.")


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


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
