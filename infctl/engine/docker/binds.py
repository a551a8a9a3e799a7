"""Whether all that containers mount from the Docker host is there, asked before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Iterable

from infctl.engine.docker import lock
from infctl.engine.docker.client import Client
from infctl.engine.docker.refusals import ImageMissing, told
from infctl.errors import EngineError, Problem
from infctl.stack import Stack


def check(client: Client, stack: Stack) -> None:
    """Raises EngineError naming all that are missing, and who mounts them."""
    users: dict[str, list[str]] = {}
    for project in stack.projects:
        for container in project.containers:
            for mount in container.mounts:
                if mount.kind == "bind":
                    users.setdefault(mount.source, []).append(container.service)
    missing = _missing(client, users)
    if not missing:
        return
    problems = [
        Problem(f"mounted by {', '.join(dict.fromkeys(users[path]))}", path=path, hint=_hint(path))
        for path in missing
    ]
    where = "here" if client.is_local else f"on the Docker host ({client.address})"
    hint = problems[0].hint
    if not client.is_local:
        hint = "bind mounts are the Docker host's own: bring the profile's folder there, under the same path"
    plural = f"{len(missing)} paths that containers mount are" if len(missing) > 1 else f"{missing[0]} is"
    raise EngineError(f"{plural} not {where}", problems=problems, hint=hint)


def _missing(client: Client, paths: Iterable[str]) -> list[str]:
    if client.is_local:
        return [path for path in paths if not os.path.exists(path)]
    return [path for path in paths if not _is_there(client, path)]


def _is_there(client: Client, path: str) -> bool:
    """The engine refuses to create a container that would mount what is not there."""
    mount = {"Type": "bind", "Source": path, "Target": "/x", "ReadOnly": True}
    body = {
        "Image": lock.IMAGE,
        "Cmd": ["-"],
        "HostConfig": {"Mounts": [mount], "NetworkMode": "none"},
        "Labels": {f"{lock.LABEL}.probe": path},
    }
    for _ in range(2):
        try:
            with told(f"{path} cannot be looked for"):
                made = client.api.create_container_from_config(body)
        except ImageMissing:
            lock.make_image(client)
            continue
        except EngineError as error:
            if "is not there on the Docker host" in error.message:
                return False
            raise
        lock.release(client, made["Id"])
        return True
    return False


def _hint(path: str) -> str:
    if os.path.basename(path) == ".env":
        return "`cp .env.example .env`, and set the keys in it"
    return "`infctl render` writes the rendered ones; weights and certificates are yours to bring"
