"""Every path that is served: method and path -> what answers it, or Refusal (404, 405)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from gateway.catalog import PATHS, SHOWN_CHARS
from gateway.refusal import Refusal

Kind = Literal["call", "models", "model", "health", "live", "ready", "detailed", "metrics", "docs", "admin"]


@dataclass(frozen=True, slots=True)
class Route:
    kind: Kind
    method: str
    path: str
    """`{name}` stands for one part, which may hold slashes in a model's name."""
    summary: str
    name: str = ""
    """What stood for `{name}` in this request."""


ROUTES: Final = (
    *(
        Route("call", "POST", path, f"Pass a call on to a model ({path.rpartition('/')[2]})")
        for path in PATHS
    ),
    Route("models", "GET", "/v1/models", "The models served here"),
    Route("model", "GET", "/v1/models/{id}", "One model"),
    Route("health", "GET", "/health", "Can every model be served? 200 or 503"),
    Route("live", "GET", "/health/live", "Is the process alive? Always 200"),
    Route("ready", "GET", "/health/ready", "Should it get new requests? 503 while draining"),
    Route("detailed", "GET", "/health/detailed", "Every model and backend, and why"),
    Route("metrics", "GET", "/metrics", "Prometheus"),
    Route("docs", "GET", "/docs", "This API, to read and try"),
    Route("docs", "GET", "/openapi.json", "This API, as OpenAPI"),
    Route("admin", "GET", "/admin/backends", "The backends and their counts"),
    Route("admin", "POST", "/admin/backends/{id}/drain", "Send a backend no new requests"),
    Route("admin", "POST", "/admin/backends/{id}/undrain", "Send a backend requests again"),
    Route("admin", "POST", "/admin/reload", "Read the configuration anew, whole or not at all"),
)

_FIXED: Final[dict[str, dict[str, Route]]] = {}
for _route in ROUTES:
    if "{" not in _route.path:
        _FIXED.setdefault(_route.path, {})[_route.method] = _route
_CALLS: Final = {route.path.encode(): route for route in ROUTES if route.kind == "call"}
_PATTERNS: Final = tuple(
    (route.path.partition("{id}")[0], route.path.partition("{id}")[2], route)
    for route in ROUTES
    if "{id}" in route.path
)


def match(method: bytes, path: bytes) -> Route:
    """Raises Refusal."""
    call = _CALLS.get(path)
    if call is not None and method == b"POST":
        return call
    text = unquote(path.decode("latin-1"), errors="replace")
    wanted = "GET" if method == b"HEAD" else method.decode("latin-1")
    found = _FIXED.get(text) or _matching(text)
    if not found:
        if text.startswith("/docs/"):
            return Route("docs", "GET", text, "Assets of /docs")
        shown = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
        raise Refusal(404, "not_found", f"Nothing is served at {shown!r}. /openapi.json lists every path.")
    route = found.get(wanted)
    if route is None:
        allowed = ", ".join(found)
        raise Refusal(
            405,
            "method_not_allowed",
            f"{found[allowed.split(', ')[0]].path} takes {allowed}.",
            headers=f"allow: {allowed}\r\n".encode(),
        )
    return route


def _matching(path: str) -> dict[str, Route]:
    for before, after, route in _PATTERNS:
        name = path.removeprefix(before).removesuffix(after)
        if path.startswith(before) and path.endswith(after) and name:
            return {route.method: Route(route.kind, route.method, route.path, route.summary, name)}
    return {}
