"""The control plane's routes that change what is set at run time: limits, quotas, keys.

Each is in force in all workers of this gateway when it is answered; the answer says so.
"""

from __future__ import annotations

import secrets
import time
from bisect import bisect_right
from typing import Annotated, Any, Final, TypeVar

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ValidationError

from gateway import strictjson
from gateway.config import Figures
from gateway.control import changes, counted, deciding, quotas
from gateway.control import tenant_schemas as said
from gateway.control.changes import Who, applied_by
from gateway.control.tenants_api import PAGE, After, Size, TenantName, tenant_of_path
from gateway.live import Live
from gateway.policy import keys as making
from gateway.policy.keys import SECRET_BYTES, Key
from gateway.policy.levels import BadSetting, figures
from gateway.policy.limits import MEASURES, key_scope, model_scope, tenant_scope
from gateway.refusal import Refusal

QUOTAS: Final = tuple(code for code, measure in MEASURES.items() if measure.kind == "quota")
OTHERS: Final = tuple(code for code in MEASURES if code not in QUOTAS)

ModelName = Annotated[
    str | None, Query(max_length=256, description="Of this model alone, within the tenant's own limits")
]
M = TypeVar("M", bound=BaseModel)


def add(app: FastAPI, live: Live, guarded: dict[str, Any], errors: dict[int | str, Any]) -> None:
    """`guarded`: what all routes of an admin share."""
    changing = guarded | {
        "responses": guarded["responses"] | {code: errors[code] for code in (400, 409, 503)},
        "response_model_exclude_unset": True,
    }
    _add_limits(app, live, changing)
    _add_keys(app, live, changing)


def _add_limits(app: FastAPI, live: Live, changing: dict[str, Any]) -> None:
    async def set_limits(
        request: Request, tenant: str, model: str | None, how: str, wanted: deciding.Before
    ) -> said.LimitsSet:
        name = tenant_of_path(tenant)
        proper = None if model is None else _model(live, name, model)
        scope = tenant_scope(name) if proper is None else model_scope(name, proper)
        done = await changes.change(
            live,
            _who(request),
            lambda found: deciding.limits(found, scope, wanted),
            lambda result: {
                "what": how,
                "tenant": name,
                "model": proper,
                "before": result[0],
                "after": result[1],
            },
        )
        before, after = done.result
        return said.LimitsSet.model_validate(
            {
                "tenant": name,
                "model": proper,
                "before": before,
                "after": after,
                "applied_by": applied_by(live, done.agreed),
            }
        )

    summary = "Set a tenant's limits"

    @app.put("/admin/quota/{tenant:path}/limits", summary=summary, **changing, **body_of(said.Limits))
    async def put_limits(request: Request, tenant: TenantName, model: ModelName = None) -> said.LimitsSet:
        """In place of all that was set here before. What is not said is as the profile has it."""
        return await set_limits(
            request, tenant, model, "limits_set", deciding.instead(await _figures(live, request))
        )

    summary = "Change some of a tenant's limits"

    @app.patch("/admin/quota/{tenant:path}/limits", summary=summary, **changing, **body_of(said.Limits))
    async def patch_limits(request: Request, tenant: TenantName, model: ModelName = None) -> said.LimitsSet:
        """The others stay. null takes one back to the profile."""
        return await set_limits(
            request, tenant, model, "limits_set", deciding.over(await _figures(live, request))
        )

    @app.delete(
        "/admin/quota/{tenant:path}/limits", summary="Go back to the limits of the profile", **changing
    )
    async def delete_limits(request: Request, tenant: TenantName, model: ModelName = None) -> said.LimitsSet:
        return await set_limits(request, tenant, model, "limits_cleared", deciding.instead({}))

    summary = "Begin a tenant's quotas anew"

    @app.post("/admin/quota/{tenant:path}/reset", summary=summary, **changing, **body_of(said.ResetRequest))
    async def reset(request: Request, tenant: TenantName) -> said.QuotaReset:
        """What it used in this day and month is forgotten, that of its keys and single models as well; the
        history of usage stays.
        """
        name = tenant_of_path(tenant)
        raw = await _raw(request, optional=True)
        if raw.get("code") in OTHERS:
            raise deciding.bad(
                f"{raw['code']} comes back by itself, with time or when requests end: there is nothing to"
                f" reset. Quotas are {', '.join(QUOTAS)}.",
                "code",
            )
        wanted = _model_of(said.ResetRequest, raw).code
        codes = QUOTAS if wanted is None else (wanted,)
        by = counted.rules(live)
        scopes = [
            tenant_scope(name),
            *(key_scope(key.id) for key in by.keys.get(name, ())),
            *(model_scope(name, model) for model in by.models.get(name, ())),
        ]
        counters = [f"{code}|{scope}" for scope in scopes for code in codes]
        done = await changes.reset(live, _who(request), name, counters)
        found = [each | {"code": each["counter"].partition("|")[0]} for each in done.result]
        return said.QuotaReset.model_validate(
            {"tenant": name, "reset": found, "applied_by": applied_by(live, done.agreed)}
        )


def _add_keys(app: FastAPI, live: Live, changing: dict[str, Any]) -> None:
    @app.get("/admin/keys", summary="The keys there are", **changing)
    async def keys(
        tenant: Annotated[str | None, Query(max_length=128)] = None, size: Size = PAGE, after: After = None
    ) -> said.Keys:
        """By tenant, then by id. What opens a door is not among what is told."""
        who = None if tenant is None else tenant_of_path(tenant)
        written, no_keys = live.settings.gate.keys, tuple[Key, ...]()
        if live.tenants.limiter is None:
            found, used = no_keys, dict[str, float]()
        else:
            found, used = await counted.ask(live, lambda store: (store.settings().keys, dict(store.used())))
            used |= live.tenants.used
        now_s = time.time()
        rows = [_entry(key, now_s, used, "run_time") for key in found]
        rows += [_entry(key, now_s, used, "profile") for key in written]
        rows = sorted((row for row in rows if who in {None, row["tenant"]}), key=_place)
        begin = 0 if after is None else bisect_right(rows, after, key=_place)
        page = rows[begin : begin + size]
        more = begin + size < len(rows)
        return said.Keys.model_validate({"keys": page, "next": _place(page[-1]) if more else None})

    @app.post("/admin/keys", summary="Create a key", status_code=201, **changing, **body_of(said.KeyRequest))
    async def create(request: Request, response: Response) -> said.KeyMade:
        """Its text is in the answer, and nowhere else: only its hash is kept."""
        raw = await _raw(request)
        own = _checked(live, raw.get("limits", {}))
        wanted = _model_of(said.KeyRequest, raw | {"limits": {}})
        name, now_s = tenant_of_path(wanted.tenant), time.time()
        expires_s = None if wanted.expires_s is None else now_s + wanted.expires_s
        try:
            text, key = making.created(
                name,
                secrets.token_bytes(SECRET_BYTES),
                now_s,
                name=wanted.name,
                expires_s=expires_s,
                figures=own,
            )
        except BadSetting as error:
            raise deciding.bad(f"{error}.", "name") from None
        done = await changes.change(
            live,
            _who(request),
            lambda found: deciding.created(found, key, now_s),
            lambda made: {"what": "key_created", **_told(made)},
        )
        response.headers["cache-control"] = "no-store"
        return said.KeyMade.model_validate(
            {
                "text": text,
                "key": _entry(done.result, now_s, {}, "run_time"),
                "applied_by": applied_by(live, done.agreed),
            }
        )

    @app.delete("/admin/keys/{id:path}", summary="Revoke a key", **changing)
    async def revoke(request: Request, key_id: Annotated[str, InPath(alias="id")]) -> said.KeyRevoked:
        """At once. One that is revoked stays so, and is listed for 90 days or more."""
        now_s, written = time.time(), live.settings.gate.keys
        done = await changes.change(
            live,
            _who(request),
            lambda found: deciding.revoked(found, written, key_id, now_s),
            lambda key: {"what": "key_revoked", **_told(key)},
        )
        return said.KeyRevoked.model_validate(
            {
                "key": _entry(done.result, now_s, {}, "run_time"),
                "applied_by": applied_by(live, done.agreed),
            }
        )

    summary = "Make a key's successor"

    @app.post("/admin/keys/{id:path}/rotate", summary=summary, **changing, **body_of(said.RotateRequest))
    async def rotate(
        request: Request, response: Response, key_id: Annotated[str, InPath(alias="id")]
    ) -> said.KeyRotated:
        """With the same limits and the same end. Both open until the overlap is over, then the new one."""
        wanted = await _read(request, said.RotateRequest, optional=True)
        now_s, written, chance = time.time(), live.settings.gate.keys, secrets.token_bytes(SECRET_BYTES)
        done = await changes.change(
            live,
            _who(request),
            lambda found: deciding.rotated(found, written, key_id, chance, now_s, wanted.overlap_s),
            lambda made: {
                "what": "key_rotated",
                **_told(made[1]),
                "successor": made[2].id,
                "overlap_s": wanted.overlap_s,
            },
        )
        text, old, new = done.result
        response.headers["cache-control"] = "no-store"
        return said.KeyRotated.model_validate(
            {
                "text": text,
                "key": _entry(new, now_s, {}, "run_time"),
                "old": _entry(old, now_s, {}, "run_time"),
                "applied_by": applied_by(live, done.agreed),
            }
        )


def _place(row: dict[str, Any]) -> str:
    """In the list of keys."""
    return f"{row['tenant']}|{row['id']}"


def _entry(key: Key, now_s: float, used: dict[str, float], origin: str) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "shown": key.shown,
        "origin": origin,
        "state": key.state(now_s),
        "created_at": key.created_s or None,
        "expires_at": key.expires_s,
        "rotated_at": key.rotated_s,
        "successor": key.successor,
        "revoked_at": key.revoked_s,
        "used_at": used.get(key.id),
        "limits": quotas.said_in(key.figures),
    }


def _told(key: Key) -> dict[str, Any]:
    """For the audit trail: neither its text nor its hash."""
    return {
        "tenant": key.tenant,
        "key_id": key.id,
        "name": key.name,
        "expires_s": key.expires_s,
        "limits": quotas.said_in(key.figures),
    }


def _model(live: Live, tenant: str, name: str) -> str:
    """Its own name. Raises Refusal (404), unless something is set for it that can be taken away."""
    found = live.settings.catalog.get(name)
    if found is not None:
        return found.name
    if model_scope(tenant, name) in live.tenants.figures:
        return name
    known = ", ".join(model.name for model in live.settings.config.models)
    message = f"There is no model {name[:64]!r}. There are: {known}."
    raise Refusal(404, "model_not_found", message, param="model")


async def _figures(live: Live, request: Request) -> dict[str, Any]:
    """As they were sent. Raises Refusal (400)."""
    raw = await _raw(request)
    _checked(live, raw)
    whole: dict[str, Any] = _whole(raw)
    return whole


def _whole(raw: Any) -> Any:
    """To JSON Schema 3.0 is an integer."""
    if not isinstance(raw, dict):
        return raw
    return {
        name: int(value)
        if name != "requests_per_second" and isinstance(value, float) and value.is_integer()
        else value
        for name, value in raw.items()
    }


def _checked(live: Live, raw: Any) -> Figures:
    """Raises Refusal (400)."""
    try:
        found = figures(_whole(raw))
    except BadSetting as error:
        raise deciding.bad(str(error), "limits") from None
    models = live.settings.config.models
    deciding.known_models(found, [name for model in models for name in (model.name, *model.aliases)])
    return found


async def _read(request: Request, model: type[M], *, optional: bool = False) -> M:
    """Raises Refusal (400)."""
    return _model_of(model, await _raw(request, optional=optional))


async def _raw(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """Raises Refusal (400) for what two readers could understand differently, too."""
    body = await request.body()
    if optional and not body.strip():
        return {}
    try:
        return strictjson.read(body).value
    except strictjson.BadJson as error:
        raise deciding.bad(str(error)) from None


def _model_of(model: type[M], raw: dict[str, Any]) -> M:
    try:
        return model.model_validate(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"] if isinstance(part, str)) or None
        raise deciding.bad(f"{param or 'body'}: {first['msg']}.", param) from None


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """For the OpenAPI document: bodies are read strictly here, not by the framework."""
    shape = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    required = any(field.is_required() for field in model.model_fields.values()) or model is said.Limits
    return {"openapi_extra": {"requestBody": {"required": required, "content": shape}}}


def _who(request: Request) -> Who:
    return Who(request.state.peer, request.state.request_id)
