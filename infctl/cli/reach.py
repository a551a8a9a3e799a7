"""How a running platform is reached from this machine: its gateway, its edge, the key's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from infctl.history.applied import Reach
from infctl.stack import Layout, Stack

if TYPE_CHECKING:
    import httpx

    from infctl.api import Api
    from infctl.profile.schema import Profile

DEFAULT_KEY = "GATEWAY_API_KEY"


def reach_of(profile: Profile, layout: Layout, stack: Stack) -> Reach:
    """As this machine reaches it: where the gateway listens, or where its container's port is published."""
    from infctl.stack.names import authority, reachable

    service = next(service for service in stack.services if service.role == "gateway")
    published = profile.gateway.listen
    host, port = next(iter(service.listen), (published.host, published.port))
    edge, trust = _edge(profile, layout)
    return Reach(
        gateway=f"http://{authority(reachable(host), port)}",
        key_name=_key_name(profile),
        edge=edge,
        trust=trust,
    )


def api(
    reach: Reach,
    key: str | None,
    *,
    through_edge: bool = False,
    transport: httpx.BaseTransport | None = None,
) -> Api:
    """A client with the clients' key. `transport`: the only way there is, so not through nginx."""
    from infctl.api import Api

    trust = Path(reach.trust) if reach.trust is not None else None
    edge = through_edge and bool(reach.edge) and transport is None
    return Api(
        reach.edge if edge else reach.gateway,
        key,
        key_name=reach.key_name or DEFAULT_KEY,
        ca_file=trust if edge else None,
        transport=transport,
    )


def curl_parts(reach: Reach, env_file: Path, known: bool) -> dict[str, Any]:
    """Keyword arguments of `curls.lines`. `known`: the key stands in `.env`."""
    front = (reach.edge, reach.trust) if reach.edge else (reach.gateway, None)
    return {
        "url": front[0],
        "ca_file": Path(front[1]) if front[1] is not None else None,
        "env_file": env_file if known else None,
        "key_name": reach.key_name or DEFAULT_KEY,
    }


def _key_name(profile: Profile) -> str:
    """The shared key, or one of a tenant that may use every model, or any; empty: none is asked for."""
    shared, tenants = profile.gateway.keys.shared, profile.gateway.tenants.values()
    if shared is not None:
        return shared.name
    free_first = sorted(tenants, key=lambda tenant: tenant.models is not None)
    return next((key.name for tenant in free_first for key in tenant.keys), "")


def _edge(profile: Profile, layout: Layout) -> tuple[str, str | None]:
    """(URL, certificate to trust) of nginx; an empty URL where this machine knows no name of it."""
    from infctl.stack.names import Names

    edge = profile.edge
    named = next((name for name in edge.server_name if name != "_" and "*" not in name), None)
    if not edge.enabled or (named is None and not edge.tls.makes_certificate):
        return "", None
    if edge.tls.makes_certificate:
        return f"https://localhost:{edge.https_port}", str(Names(profile, layout).tls_files[0])
    return f"https://{named}:{edge.https_port}", None
