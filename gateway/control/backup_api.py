"""The control plane's routes for taking a store's contents to another box."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from gateway.control import backup, changes, counted, everywhere
from gateway.control import tenant_schemas as said
from gateway.control.backup import Backup
from gateway.control.changes import Who, applied_by
from gateway.control.changing_api import body_of
from gateway.live import Live
from gateway.policy.exchange import Exchange
from gateway.refusal import Refusal
from gateway.store.protocol import Store


def add(app: FastAPI, live: Live, guarded: dict[str, Any], errors: dict[int | str, Any]) -> None:
    """`guarded`: what all routes of an admin share."""
    shared = guarded | {"responses": guarded["responses"] | {code: errors[code] for code in (400, 409, 503)}}

    @app.get(
        "/admin/backup", summary="All that is kept, for another box", response_model=said.Backup, **shared
    )
    async def take() -> Response:
        """Keys by their hash, limits, counts, history of usage, and where the audit trail stands."""
        counted.limiter(live)
        await everywhere.tell(live)
        try:
            heads = backup.chains(live)
        except OSError as error:
            message = f"Where the audit trail stands cannot be read: {error}. Look at its anchors' folder."
            raise Refusal(503, "audit_unavailable", message, type="overloaded") from None
        found = await counted.ask(live, lambda store: backup.made(store, heads))
        return Response(msgspec.json.encode(found), media_type="application/json")

    @app.post("/admin/restore", summary="Take a backup in", **shared, **body_of(said.RestoreRequest))
    async def restore(request: Request) -> said.Restored:
        """Limits and keys of the same name are replaced, revoked keys are not; counts are added, once."""
        found = backup.read(await request.body())
        who = Who(request.state.peer, request.state.request_id)
        for given in backup.exchanges(found):
            await counted.ask(live, _exchanging(given))
        await counted.ask(live, lambda store: store.put_used(found.used))
        done = await changes.change(live, who, partial(backup.change, backup=found), _telling(found))
        return said.Restored.model_validate(
            msgspec.structs.asdict(done.result) | {"applied_by": applied_by(live, done.agreed)}
        )


def _exchanging(given: Exchange) -> Callable[[Store], Any]:
    return lambda store: store.exchange(given)


def _telling(found: Backup) -> Callable[[backup.Restored], dict[str, Any]]:
    """With the heads of the other box's trail, which are thus a part of this one's."""
    heads = {chain.chain: f"{chain.records}:{chain.hash}" for chain in found.audit}
    return lambda result: {
        "what": "restored",
        "backup": found.id,
        "made_at": found.made_at,
        **msgspec.structs.asdict(result),
        "audit_heads": heads,
    }
