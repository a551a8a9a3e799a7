"""The control plane on the data plane's port. Health, metrics and models are answered from plain data;
FastAPI is loaded, in a thread, when /docs, /openapi.json or /admin is first asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from gateway import exposition
from gateway.catalog import SHOWN_CHARS
from gateway.control import documents, everywhere
from gateway.identify import Caller
from gateway.live import Live
from gateway.net import asgi
from gateway.net.server import Exchange
from gateway.refusal import Refusal
from gateway.routes import Route
from gateway.wire import framing

ADMIN_BYTES: Final = 64 * 1024
"""Of a body."""


class Plane:
    def __init__(self, live: Live) -> None:
        self._live = live
        self._app: asgi.App | None = None
        self._loading = asyncio.Lock()

    async def answer(self, exchange: Exchange, route: Route) -> None:
        """Raises Refusal."""
        await _ANSWERS[route.kind](self, exchange, route)

    async def _health(self, exchange: Exchange, _: Route) -> None:
        status = documents.status(self._live)
        _send(exchange, {"status": status}, 503 if status == "down" else 200)

    async def _live_probe(self, exchange: Exchange, _: Route) -> None:
        _send(exchange, {"status": "ok"})

    async def _ready(self, exchange: Exchange, _: Route) -> None:
        live = self._live
        if documents.ready(live):
            _send(exchange, {"status": "ready"})
        else:
            _send(exchange, {"status": "draining" if live.draining else "no backend is ready"}, 503)

    async def _detailed(self, exchange: Exchange, _: Route) -> None:
        gate, authorization, address = self._who(exchange)
        try:
            gate.admin(authorization, address)
            admin = True
        except Refusal:
            self._caller(exchange)
            admin = False
        document = await everywhere.detailed(self._live)
        if not admin:  # what one tenant uses is nothing that another one may know
            del document["near_limits"]
        _send(exchange, document)

    async def _metrics(self, exchange: Exchange, _: Route) -> None:
        gate, authorization, address = self._who(exchange)
        if not gate.reads_metrics(address):
            gate.admin(authorization, address)
        accept = (exchange.head.get(b"accept") or b"").decode("latin-1")
        content_type, text = exposition.render(await everywhere.numbers(self._live), accept)
        exchange.respond(200, f"content-type: {content_type}\r\n".encode(), text)

    async def _models(self, exchange: Exchange, route: Route) -> None:
        live, caller = self._live, self._caller(exchange)
        allowed = live.tenants.tenancy.terms(caller, "").models
        if route.kind == "models":
            _send(exchange, documents.models(live, allowed))
            return
        model = live.settings.catalog.get(route.name)
        if model is None or (allowed is not None and model.name not in allowed):
            raise Refusal(
                404, "model_not_found", f"There is no model {route.name[:SHOWN_CHARS]!r}.", param="id"
            )
        _send(exchange, documents.model_entry(live, model, route.name, int(live.created)))

    async def _fastapi(self, exchange: Exchange, route: Route) -> None:
        gate, authorization, address = self._who(exchange)
        if route.kind == "admin":
            gate.admin(authorization, address)
            if not route.name.isprintable():  # the framework would leave a line break at the end out
                message = "The path holds a control character: no tenant, key or backend has such a name."
                raise Refusal(400, "invalid_request", message)
        whole = exchange.head.path == b"/admin/restore"  # as large as the backup is
        body = await exchange.body(limit=None if whole else ADMIN_BYTES)
        if self._app is None:
            async with self._loading:
                if self._app is None:
                    self._app = await asyncio.to_thread(_load, self._live)
        asked = {"peer": address, "request_id": exchange.id}
        await asgi.call(self._app, exchange, body, {"state": asked})

    def _caller(self, exchange: Exchange) -> Caller:
        """Raises Refusal (401)."""
        _, authorization, address = self._who(exchange)
        return self._live.tenants.tenancy.caller(authorization, address, time.time())

    def _who(self, exchange: Exchange) -> tuple[Any, bytes | None, str]:
        head, gate = exchange.head, self._live.settings.gate
        return gate, head.get(b"authorization"), gate.address(head.get(b"x-forwarded-for"), exchange.peer)


_ANSWERS: dict[str, Callable[[Plane, Exchange, Route], Any]] = {
    "health": Plane._health,  # noqa: SLF001 - the table of this class
    "live": Plane._live_probe,  # noqa: SLF001
    "ready": Plane._ready,  # noqa: SLF001
    "detailed": Plane._detailed,  # noqa: SLF001
    "metrics": Plane._metrics,  # noqa: SLF001
    "models": Plane._models,  # noqa: SLF001
    "model": Plane._models,  # noqa: SLF001
    "docs": Plane._fastapi,  # noqa: SLF001
    "admin": Plane._fastapi,  # noqa: SLF001
}


def _load(live: Live) -> asgi.App:
    from gateway.control import api  # noqa: PLC0415 - 25 MB and 0.4 s that most processes never need

    return api.build(live)


def _send(exchange: Exchange, document: dict[str, Any], status: int = 200) -> None:
    exchange.respond(status, framing.JSON, orjson.dumps(document))
