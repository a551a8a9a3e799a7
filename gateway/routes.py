"""Every path that is served: method and path -> what answers it, or Refusal (404, 405)."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """`{id}` stands for one part, which may hold slashes in a model's name."""
    summary: str
    name: str = ""
    """What stood for `{id}` in this request."""


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
    Route("admin", "GET", "/admin/requests/{id}", "Why one of the last calls went as it went"),
    Route("admin", "GET", "/admin/quotas", "Where each tenant stands"),
    Route("admin", "GET", "/admin/quota/{tenant}", "Where one tenant stands"),
    Route("admin", "PUT", "/admin/quota/{tenant}/limits", "Set a tenant's limits"),
    Route("admin", "PATCH", "/admin/quota/{tenant}/limits", "Change some of a tenant's limits"),
    Route("admin", "DELETE", "/admin/quota/{tenant}/limits", "Go back to the limits of the profile"),
    Route("admin", "POST", "/admin/quota/{tenant}/reset", "Begin a tenant's quotas anew"),
    Route("admin", "GET", "/admin/usage", "What was used, by day, tenant and model"),
    Route("admin", "GET", "/admin/tenants", "Who may call, and who has called"),
    Route("admin", "GET", "/admin/backup", "All that is kept, for another box"),
    Route("admin", "POST", "/admin/restore", "Take a backup in"),
    Route("admin", "GET", "/admin/keys", "The keys there are"),
    Route("admin", "POST", "/admin/keys", "Create a key"),
    Route("admin", "DELETE", "/admin/keys/{id}", "Revoke a key"),
    Route("admin", "POST", "/admin/keys/{id}/rotate", "Make a key's successor"),
)

_FIXED: Final[dict[str, dict[str, Route]]] = {}
for _route in ROUTES:
    if "{" not in _route.path:
        _FIXED.setdefault(_route.path, {})[_route.method] = _route
_CALLS: Final = {route.path.encode(): route for route in ROUTES if route.kind == "call"}
_PATTERNS: Final[dict[tuple[str, str], dict[str, Route]]] = {}
"""What stands before and behind the name -> method -> route; the longest end first."""
for _route in sorted(ROUTES, key=lambda route: -len(route.path.partition("}")[2])):
    if "{" in _route.path:
        _ends = _route.path.partition("{")[0], _route.path.partition("}")[2]
        _PATTERNS.setdefault(_ends, {})[_route.method] = _route


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
    for (before, after), routes in _PATTERNS.items():
        if len(path) > len(before) + len(after) and path.startswith(before) and path.endswith(after):
            name = path[len(before) : len(path) - len(after)]
            return {method: replace(route, name=name) for method, route in routes.items()}
    return {}
