"""Profile, plan and services -> the Compose projects: containers, networks, volumes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infctl.errors import Where
from infctl.host import Host
from infctl.plan import Plan
from infctl.profile.schema import Profile
from infctl.stack import Stack
from infctl.stack.containers import Container, Network, Project, Volume
from infctl.stack.engines import EGRESS, engines, fetched, weights
from infctl.stack.front import edge, gateway, prepare, redis
from infctl.stack.names import Names
from infctl.stack.observers import observers
from infctl.stack.shared import Shared

MAIN_FILE = "docker-compose.yml"


def projects(
    stack: Stack,
    profile: Profile,
    plan: Plan,
    names: Names,
    host: Host,
    *,
    digests: Mapping[str, str],
    where: Where,
) -> tuple[Project, ...]:
    """The platform's, then the monitoring's where there is one."""
    shared = Shared(stack, profile, plan, names, host, digests, where)
    main = _main(shared)
    watching = observers(shared, main)
    return (main,) if watching is None else (main, watching)


def _main(shared: Shared) -> Project:
    profile = shared.profile
    hub = bool(fetched(shared))
    fetching = weights(shared)
    counts = redis(shared)
    found = [
        prepare(shared, hub=hub),
        *([fetching] if fetching is not None else []),
        *([counts] if counts is not None else []),
        *engines(shared),
        gateway(shared),
        *([edge(shared)] if profile.edge.enabled else []),
    ]
    networks = profile.networks
    named = {
        networks.frontend: Network(
            networks.frontend, f"{profile.name}_{networks.frontend}", subnet=networks.subnet
        ),
        networks.backend: Network(
            networks.backend, f"{profile.name}_{networks.backend}", internal=networks.internal
        ),
        EGRESS: Network(EGRESS, f"{profile.name}_{EGRESS}"),
    }
    used = {attached.network for one in found for attached in one.networks}
    return Project(
        name=profile.name,
        file=MAIN_FILE,
        folder=str(shared.names.layout.base),
        containers=tuple(found),
        networks=tuple(network for key, network in named.items() if key in used),
        volumes=volumes(profile.name, found),
    )


def volumes(project: str, containers: Iterable[Container]) -> tuple[Volume, ...]:
    keys = dict.fromkeys(m.source for one in containers for m in one.mounts if m.kind == "volume")
    return tuple(Volume(key, f"{project}_{key}") for key in keys)
