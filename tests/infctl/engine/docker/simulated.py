"""A Docker host that exists only as values: what `docker inspect` would say after `infctl up`. Pure."""

from __future__ import annotations

import json
from typing import Any

from infctl.engine.docker import fields, observed, payload
from infctl.engine.docker.observed import Seen, SeenNetwork, Snapshot
from infctl.stack import Stack
from infctl.stack.containers import Container, Project

STARTED = "2026-01-02T03:04:05.678901234Z"
IMAGE = {
    "Id": "sha256:one",
    "Config": {"Env": ["PATH=/bin", "LANG=C"], "Cmd": ["serve"], "Entrypoint": ["/init"], "User": "app"},
}
"""What every image here brings."""


def inspect(project: Project, container: Container, number: int = 1, **state: Any) -> dict[str, Any]:
    """As the engine says it: with the image's part filled in, and its own additions."""
    body = payload.create(project, container, image_id="sha256:one", config_hash="hash", number=number)
    name = container.container_name(project.name, number)
    brought = IMAGE["Config"]
    own = {word.partition("=")[0] for word in body["Env"]}
    config = {
        **body,
        "Hostname": "0123456789ab",
        "Env": [*body["Env"], *(word for word in brought["Env"] if word.partition("=")[0] not in own)],
        "Entrypoint": body.get("Entrypoint") or brought["Entrypoint"],
        "Cmd": body.get("Cmd") or (None if body.get("Entrypoint") else brought["Cmd"]),
        "User": body.get("User") or brought["User"],
    }
    ended = {"Status": "exited", "Health": None}
    settled = {
        "Status": "running",
        "StartedAt": STARTED,
        "ExitCode": 0,
        "Pid": 7,
        "Health": {"Status": "healthy"} if container.healthcheck else None,
        **(ended if container.one_shot else {}),
        **state,
    }
    host = {
        "CpuShares": 0, "Runtime": "runc", "ShmSize": 67108864, "Ulimits": None, **body["HostConfig"],
    }  # fmt: skip
    endpoints = {
        network: {**endpoint, "Aliases": [*endpoint["Aliases"], "0123456789ab"], "IPAddress": "10.0.0.2"}
        for network, endpoint in payload.endpoints(project, container, number=number).items()
    } or {"none": {"Aliases": None}}
    said = {
        "Id": f"0123456789ab{name}",
        "Name": f"/{name}",
        "Image": "sha256:one",
        "RestartCount": 0,
        "State": settled,
        "Config": config,
        "HostConfig": host,
        "NetworkSettings": {"Networks": endpoints},
    }
    return dict(json.loads(json.dumps(said)))


def seen(project: Project, container: Container, number: int = 1, **state: Any) -> Seen:
    return observed.seen(inspect(project, container, number, **state))


def snapshot(stack: Stack) -> Snapshot:
    """Of a host on which `stack` was applied."""
    return Snapshot(
        containers=tuple(
            seen(project, container, number)
            for project in stack.projects
            for container in project.containers
            for number in range(1, container.count + 1)
        ),
        networks=tuple(
            SeenNetwork(
                network.name,
                id=network.name,
                project=project.name,
                internal=network.internal,
                subnets=(network.subnet or "172.20.0.0/16",),
            )
            for project in stack.projects
            for network in project.networks
            if not network.external
        ),
        volumes=tuple(
            (volume.name, project.name) for project in stack.projects for volume in project.volumes
        ),
        images={
            name: fields.brought(IMAGE)
            for name in (
                "sha256:one",
                *(container.image for project in stack.projects for container in project.containers),
            )
        },
    )
