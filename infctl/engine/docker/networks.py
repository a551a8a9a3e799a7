"""Networks and volumes, with Compose's labels, so that `docker compose` takes them for its own."""

from __future__ import annotations

import contextlib
from typing import Any

from infctl.engine.docker import payload
from infctl.engine.docker.client import Client
from infctl.engine.docker.hands import Hands
from infctl.engine.docker.observed import SeenNetwork
from infctl.engine.docker.refusals import Gone, told
from infctl.stack.containers import Network, Project, Volume


def create(client: Client, project: Project, network: Network) -> None:
    from docker.types import IPAMConfig, IPAMPool  # noqa: PLC0415

    ipam = None
    if network.subnet is not None:
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=network.subnet)])
    with told(f"the network {network.name} cannot be made"):
        # Docker takes two of one name; what a second infctl would make at the same time is refused.
        client.api.create_network(
            network.name,
            driver="bridge",
            internal=network.internal,
            ipam=ipam,
            labels=_labels(project, payload.NETWORK, network.key),
            check_duplicate=_check_duplicate(client),
        )


def replace(client: Client, hands: Hands, project: Project, network: Network, found: SeenNetwork) -> None:
    """Made anew under the containers that use it: they are connected again as they run."""
    with told(f"the network {network.name} cannot be replaced"):
        connected = client.api.inspect_network(found.id).get("Containers") or {}
    ours = {}
    for container_id in connected:
        inspect = hands.inspect(container_id)
        labels = inspect["Config"].get("Labels") or {}
        if labels.get(payload.PROJECT, "").startswith(project.name):
            endpoint = inspect["NetworkSettings"]["Networks"].get(network.name) or {}
            ours[container_id] = [a for a in endpoint.get("Aliases") or () if a != container_id[:12]]
    for container_id in ours:
        hands.disconnect(container_id, network.name)
    try:
        remove(client, found.id)
        create(client, project, network)
    finally:
        for container_id, aliases in ours.items():
            with contextlib.suppress(Gone):
                hands.connect(container_id, network.name, aliases)


def remove(client: Client, name: str) -> None:
    """One that is gone is fine."""
    with contextlib.suppress(Gone), told(f"the network {name} cannot be removed"):
        client.api.remove_network(name)


def create_volume(client: Client, project: Project, volume: Volume) -> None:
    with told(f"the volume {volume.name} cannot be made"):
        client.api.create_volume(volume.name, labels=_labels(project, payload.VOLUME, volume.key))


def remove_volume(client: Client, name: str) -> None:
    """With everything in it. One that is gone is fine."""
    with contextlib.suppress(Gone), told(f"the volume {name} cannot be removed"):
        client.api.remove_volume(name)


def _labels(project: Project, kind: str, key: str) -> dict[str, str]:
    """Without Compose's hash of it, which Compose does not miss: with a wrong one it would make it anew."""
    return {payload.PROJECT: project.name, kind: key, payload.VERSION: payload.COMPOSE_VERSION}


def _check_duplicate(client: Client) -> Any:
    """Engines from 25 on always do, and newer ones do not know the word."""
    return True if client.version < (1, 44) else None
