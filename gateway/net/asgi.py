"""A small ASGI 3 adapter, so that the control plane's FastAPI app is reached on the data plane's port.

Not hot: request bodies are read whole (bounded), responses are streamed. Lifespan is the caller's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from gateway.net.exchange import Exchange
from gateway.wire import framing

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

_OURS: Final = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"x-request-id", b"date"))
"""Set by the server for every response."""


async def call(app: App, exchange: Exchange, body: bytes, scope_extra: Mapping[str, Any]) -> None:
    """Lets `app` answer this exchange. Raises what the app raises; Refused is the server's to answer."""
    response = _Response(exchange)
    await app(_scope(exchange, scope_extra), _receiver(body), response.send)
    if not exchange.ended:
        response.finish()


def _scope(exchange: Exchange, extra: Mapping[str, Any]) -> Message:
    head = exchange.head
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if head.http10 else "1.1",
        # The app answers HEAD as GET: the exchange leaves the body out, and no route has to know of HEAD.
        "method": "GET" if exchange.head_only else head.method.decode("ascii"),
        "scheme": "http",
        "path": unquote_to_bytes(head.path).decode("utf-8", "replace"),
        "raw_path": head.path,
        "query_string": head.query,
        "root_path": "",
        "headers": list(head.headers),
        "client": (exchange.peer, 0),
        "server": None,
        **extra,
    }


def _receiver(body: bytes) -> Callable[[], Awaitable[Message]]:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        # The server cancels this coroutine when the client goes: there is nothing else to wait for.
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    return receive


class _Response:
    """`http.response.start` waits for the first body, so that a short answer leaves in one write."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._head: tuple[int, bytes, int | None] | None = None

    async def send(self, message: Message) -> None:
        exchange = self._exchange
        match message["type"]:
            case "http.response.start":
                if self._head is not None:
                    raise RuntimeError("the response has already been started")
                self._head = _head(message)
            case "http.response.body":
                body = bytes(message.get("body", b""))
                more = bool(message.get("more_body", False))
                if self._head is None:
                    raise RuntimeError("http.response.body came before http.response.start")
                status, lines, length = self._head
                if not exchange.started:
                    # HEAD: an app may send the length of a body that it does not send.
                    if not more and not (exchange.head_only and length):
                        exchange.respond(status, lines, body)
                        return
                    exchange.start(status, lines, length)
                exchange.write(body)
                await exchange.drain()
                if not more:
                    exchange.end()
            case other:
                raise RuntimeError(f"{other!r} is not an ASGI http message")

    def finish(self) -> None:
        """The app returned without a whole answer."""
        if not self._exchange.started:
            raise RuntimeError("the app returned without an answer")
        self._exchange.abort()


def _head(message: Message) -> tuple[int, bytes, int | None]:
    status: int = message["status"]
    length: int | None = None
    lines = []
    for raw_name, raw_value in message.get("headers", ()):
        name, value = bytes(raw_name).lower(), bytes(raw_value)
        if b"\n" in value or b"\r" in value:
            raise ValueError(f"the header {name!r} holds a line break")
        if name == b"content-length":
            length = int(value)
        elif name not in _OURS:
            lines.append(b"%b: %b\r\n" % (name, value))
    if framing.bodiless(status):
        length = None
    return status, b"".join(lines), length
