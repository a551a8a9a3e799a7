"""The FastAPI app: /docs, /openapi.json, /admin. Imported at the first request for one of them.

The data plane's routes are declared here for the document; their requests never arrive here.
Keys were checked by plane.py before a request comes in.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from gateway.catalog import SHOWN_CHARS
from gateway.control import backup_api, changing_api, everywhere, schemas, tenant_schemas, tenants_api
from gateway.live import Live
from gateway.net import asgi
from gateway.refusal import Refusal
from gateway.routes import ROUTES, Route
from gateway.version import version

_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    b" img-src 'self' data:; frame-ancestors 'none'"
)
"""For /docs: its page starts itself with an inline script; everything comes from here."""
_OPEN = {"health", "live", "ready", "metrics", "docs"}
_EVENTS = {"description": "Events, each with a JSON object or `[DONE]` as its data."}
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": schemas.Error, "description": text}
    for code, text in {
        400: "The body is not what the API asks for",
        401: "The key is missing or not valid",
        403: "The key may not use this model",
        404: "No such model or path",
        409: "It cannot be done as things are",
        408: "The body did not come in time",
        413: "The body is larger than the gateway takes",
        429: "A limit or a quota is reached: Retry-After says for how long",
        502: "The backend gave no honest answer",
        503: "No backend can take it now",
        504: "The backend took too long",
    }.items()
}


def build(live: Live) -> asgi.App:
    app: FastAPI = FastAPIOffline(
        title="infctl gateway",
        version=version(),
        description="OpenAI-compatible models behind one key. Fields not listed pass through to vLLM.",
        redoc_url=None,
        static_url="/docs/assets",
    )
    app.add_exception_handler(StarletteHTTPException, _openai_shape)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(Refusal, _refused)
    for body in tenant_schemas.BODIES:
        _schemas(app)[body.__name__] = body
    _add_admin(app, live)
    for route in ROUTES:
        if route.kind not in {"docs", "admin"}:
            _document(app, route)

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", _POLICY)]
            await send(message)

        await app(scope, receive, send_guarded)

    return guarded


def _add_admin(app: FastAPI, live: Live) -> None:
    bearer = HTTPBearer(scheme_name="admin key", auto_error=False)
    guarded: dict[str, Any] = {
        "tags": ["admin"],
        "dependencies": [_depends(bearer)],
        "responses": {code: _ERRORS[code] for code in (401, 404)},
    }

    @app.get("/admin/backends", summary="The backends and their counts", **guarded)
    async def backends() -> schemas.Backends:
        return schemas.Backends.model_validate({"backends": (await everywhere.detailed(live))["backends"]})

    turns = guarded | {"responses": guarded["responses"] | {503: _ERRORS[503]}}

    async def set_drained(backend_id: str, *, drained: bool) -> schemas.Backend:
        if live.balancer.get(backend_id) is None:
            known = ", ".join(each.id for each in live.balancer.backends())
            message = f"There is no backend {backend_id[:SHOWN_CHARS]!r}. There are: {known}."
            raise HTTPException(404, {"message": message, "code": "not_found", "param": "id"})
        try:
            found = await everywhere.set_drained(live, backend_id, drained=drained)
        except everywhere.NotAgreedError as error:
            message = f"{error}. Ask again."
            raise HTTPException(
                503, {"message": message, "type": "overloaded", "code": "not_agreed"}
            ) from None
        return schemas.Backend.model_validate(found)

    @app.post("/admin/backends/{id:path}/drain", summary="Send a backend no new requests", **turns)
    async def drain(backend_id: Annotated[str, Path(alias="id")]) -> schemas.Backend:
        return await set_drained(backend_id, drained=True)

    @app.post("/admin/backends/{id:path}/undrain", summary="Send a backend requests again", **turns)
    async def undrain(backend_id: Annotated[str, Path(alias="id")]) -> schemas.Backend:
        return await set_drained(backend_id, drained=False)

    unusable = {
        422: {"model": schemas.Error, "description": "It cannot be used; the one before stays in force"}
    }

    @app.post(
        "/admin/reload",
        summary="Read the configuration anew, whole or not at all",
        **guarded | {"responses": guarded["responses"] | unusable},
    )
    async def reload() -> schemas.Reloaded:
        done = await everywhere.reload(live)
        if done.problems:
            message = f"The configuration cannot be used, the one before it stays: {'; '.join(done.problems)}"
            raise HTTPException(422, {"message": message, "code": "invalid_configuration"})
        return schemas.Reloaded(reloaded=True, gone=list(done.gone), warnings=live.warnings)

    _add_why(app, live, guarded)
    tenants_api.add(app, live, guarded, _ERRORS)
    changing_api.add(app, live, guarded, _ERRORS)
    backup_api.add(app, live, guarded, _ERRORS)


def _add_why(app: FastAPI, live: Live, guarded: dict[str, Any]) -> None:
    @app.get("/admin/requests/{id}", summary="Why one of the last calls went as it went", **guarded)
    async def why(request_id: Annotated[str, Path(alias="id", max_length=256)]) -> schemas.Story:
        found = await everywhere.story(live, request_id)
        if found is None:
            kept = live.settings.config.log.stories
            message = (
                f"{request_id[:SHOWN_CHARS]!r} is not among the last {kept:,} calls of a worker of this"
                " gateway. What is older, or was another gateway's, is in the log and in the audit trail."
            )
            raise HTTPException(404, {"message": message, "code": "not_found", "param": "id"})
        return schemas.Story.model_validate(found)


def _answers(route: Route, body: type[BaseModel] | None) -> dict[int | str, dict[str, Any]]:
    """Status -> what it means."""
    if route.kind == "metrics":
        answers: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}
    else:
        answers = {200: {"model": schemas.ANSWERS.get(route.kind, schemas.Reply)}}
    if route.kind in {"health", "ready"}:
        answers[503] = {"model": schemas.Status}
    elif route.kind not in _OPEN:
        answers |= _ERRORS if route.kind == "call" else {401: _ERRORS[401]}
    if route.kind == "model":
        answers[404] = _ERRORS[404]
    if body is not None and "stream" in body.model_fields:
        answers[200] |= {"content": {"text/event-stream": {"schema": _EVENTS}}}
    if route.kind == "metrics":
        answers[401] = _ERRORS[401]
    return answers


def _document(app: FastAPI, route: Route) -> None:
    """Declares a route that the data plane answers before this app is asked."""
    extra: dict[str, Any] = {}
    body = schemas.CALLS.get(route.path)
    if body is not None:
        reference = f"#/components/schemas/{body.__name__}"
        extra["openapi_extra"] = {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": reference}}},
            }
        }
    if route.kind not in _OPEN:
        extra["dependencies"] = [_depends(HTTPBearer(scheme_name="API key", auto_error=False))]

    async def elsewhere(request: Request) -> JSONResponse:
        raise RuntimeError(f"{request.url.path} is answered by the data plane")

    app.add_api_route(
        route.path,
        elsewhere,
        methods=[route.method],
        summary=route.summary,
        operation_id=f"{route.method.lower()}{route.path.translate(_IDENTIFIER)}",
        tags=["models" if route.kind in {"call", "models", "model"} else "health"],
        responses=_answers(route, body),
        response_model=None,
        **extra,
    )
    if body is not None:
        _schemas(app)[body.__name__] = body


_IDENTIFIER = str.maketrans("/{}.-", "_____")


def _schemas(app: FastAPI) -> dict[str, Any]:
    """The bodies that only `openapi_extra` names: added to the document when it is made."""
    found: dict[str, Any] | None = getattr(app.state, "bodies", None)
    if found is not None:
        return found
    bodies: dict[str, Any] = {}
    app.state.bodies = bodies
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        known = document.setdefault("components", {}).setdefault("schemas", {})
        for name, model in bodies.items():
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            known.update(schema.pop("$defs", {}))
            known[name] = schema
        for methods in document["paths"].values():
            for operation in methods.values():
                _as_answered(operation["responses"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return bodies


def _as_answered(responses: dict[str, Any]) -> None:
    """Parameters that cannot be are a 400 in our shape, not FastAPI's 422."""
    described = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if str(described.get("$ref", "")).endswith("/HTTPValidationError"):
        del responses["422"]
        shape = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        responses.setdefault("400", {"description": _ERRORS[400]["description"], "content": shape})


def _depends(dependency: Any) -> Any:
    from fastapi import Depends  # noqa: PLC0415

    return Depends(dependency)


async def _bad_request(_: Request, error: Exception) -> JSONResponse:
    """A parameter that is not what its schema asks for."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for nothing else
    first = error.errors()[0]
    param = str(first["loc"][-1])
    detail = {"message": f"{param}: {first['msg']}.", "param": param, "code": "invalid_request"}
    return JSONResponse({"error": {"type": "invalid_request_error"} | detail}, 400)


async def _refused(_: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, Refusal)  # noqa: S101 - as above
    detail = {
        "message": refusal.message,
        "type": refusal.type or "invalid_request_error",
        "param": refusal.param,
        "code": refusal.code,
    }
    lines = refusal.headers.decode().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return JSONResponse({"error": detail}, refusal.status, headers)


async def _openai_shape(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101 - it is registered for nothing else
    raw: Any = error.detail
    detail = raw if isinstance(raw, dict) else {"message": str(raw)}
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    whole = {"type": "invalid_request_error", "param": None, "code": code} | detail
    return JSONResponse({"error": whole}, error.status_code, error.headers)
