"""What the Docker host has, as values: read from what the engine says, compared by `reconcile`. Pure."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from infctl.engine.docker import fields, payload
from infctl.engine.docker.fields import Brought, Fields
from infctl.engine.model import ObservedService, State
from infctl.stack.containers import ROLE_LABEL, SPEC_LABEL

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Seen:
    """One container of ours, started by whichever side."""

    id: str
    name: str
    project: str
    service: str
    number: int = 1
    role: str = ""
    image_id: str = ""
    spec_hash: str = ""
    config_hash: str = ""
    status: str = "running"
    """created, running, paused, restarting, removing, exited, dead."""
    health: str = ""
    """starting, healthy, unhealthy; empty: it has no check."""
    last_check: str = ""
    """What a failing health check said."""
    exit_code: int = 0
    last_exit: str = ""
    """In words; empty while it has not ended."""
    started: str = ""
    """As the engine writes it: tells one start from the next."""
    started_at: float | None = None
    restarts: int = 0
    pid: int | None = None
    fields: Fields = field(default_factory=Fields)

    @property
    def is_ready(self) -> bool:
        return self.status == "running" and self.health in ("", "healthy")

    @property
    def is_done(self) -> bool:
        """It ran to its end, and all went well."""
        return self.status == "exited" and self.exit_code == 0 and bool(self.started_at)


@dataclass(frozen=True, slots=True)
class Stranger:
    """A container that is none of ours: its name or a port of its may be in the way."""

    id: str
    name: str
    project: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    """(address, port) it publishes."""


@dataclass(frozen=True, slots=True)
class SeenNetwork:
    name: str
    id: str = ""
    project: str = ""
    internal: bool = False
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look, after which nothing is asked again."""

    containers: tuple[Seen, ...] = ()
    strangers: tuple[Stranger, ...] = ()
    networks: tuple[SeenNetwork, ...] = ()
    """All of the Docker host."""
    volumes: tuple[tuple[str, str], ...] = ()
    """(name, project) of all of the Docker host."""
    images: Mapping[str, Brought] = field(default_factory=lambda: _NOTHING)
    """By reference for those wanted, by id for those that containers were made from."""

    def of(self, project: str, service: str) -> tuple[Seen, ...]:
        return tuple(c for c in self.containers if (c.project, c.service) == (project, service))

    def network(self, name: str) -> SeenNetwork | None:
        return next((n for n in self.networks if n.name == name), None)

    def named(self, name: str) -> Seen | None:
        return next((c for c in self.containers if c.name == name), None)


def seen(inspect: Mapping[str, Any]) -> Seen:
    """From `docker inspect` of a container with Compose's labels."""
    labels = inspect["Config"].get("Labels") or {}
    state = inspect["State"]
    health = state.get("Health") or {}
    status = str(state.get("Status") or "")
    began = str(state.get("StartedAt") or "")
    ended = status in ("exited", "dead", "restarting")
    return Seen(
        id=str(inspect["Id"]),
        name=str(inspect["Name"]).lstrip("/"),
        project=str(labels.get(payload.PROJECT, "")),
        service=str(labels.get(payload.SERVICE, "")),
        number=_number(labels.get(payload.NUMBER)),
        role=str(labels.get(ROLE_LABEL, "")),
        image_id=str(inspect.get("Image") or ""),
        spec_hash=str(labels.get(SPEC_LABEL, "")),
        config_hash=str(labels.get(payload.CONFIG_HASH, "")),
        status=status,
        health="" if health.get("Status", "none") == "none" else str(health["Status"]),
        last_check=last_check(state),
        exit_code=int(state.get("ExitCode") or 0),
        last_exit=exit_of(state) if ended else "",
        started=began,
        started_at=when(began),
        restarts=int(inspect.get("RestartCount") or 0),
        pid=int(state.get("Pid") or 0) or None,
        fields=fields.found(inspect),
    )


def stranger(listed: Mapping[str, Any]) -> Stranger:
    """From `docker ps`."""
    ports = {
        (str(port.get("IP", "")), int(port["PublicPort"]))
        for port in listed.get("Ports") or ()
        if port.get("PublicPort")
    }
    labels = listed.get("Labels") or {}
    return Stranger(
        id=str(listed["Id"]),
        name=(listed.get("Names") or [""])[0].lstrip("/"),
        project=str(labels.get(payload.PROJECT, "")),
        ports=tuple(sorted(ports)),
    )


def network(listed: Mapping[str, Any]) -> SeenNetwork:
    ipam = (listed.get("IPAM") or {}).get("Config") or ()
    return SeenNetwork(
        name=str(listed["Name"]),
        id=str(listed["Id"]),
        project=str((listed.get("Labels") or {}).get(payload.PROJECT, "")),
        internal=bool(listed.get("Internal")),
        subnets=tuple(str(one["Subnet"]) for one in ipam if one.get("Subnet")),
    )


def as_service(container: Seen) -> ObservedService:
    """In the words that both runtimes share."""
    return ObservedService(
        name=container.service,
        state=_state(container),
        pid=container.pid,
        started_at=container.started_at if container.pid else None,
        restarts=container.restarts,
        spec_hash=container.spec_hash,
        last_exit=container.last_exit or _unwell(container),
        container=container.name,
        image=container.fields.image,
        image_id=container.image_id,
        health=container.health,
    )


def _state(container: Seen) -> State:
    if container.status == "running":
        return {"starting": "starting", "unhealthy": "unhealthy"}.get(container.health, "ready")  # type: ignore[return-value]
    if container.status == "restarting":
        return "backoff"
    if container.status == "removing":
        return "stopping"
    if container.status == "dead" or container.exit_code not in (0, 137, 143):
        return "failed"
    return "stopped"


def _unwell(container: Seen) -> str:
    if container.health == "unhealthy":
        return f"its health check fails: {container.last_check}"
    return "paused" if container.status == "paused" else ""


def exit_of(state: Mapping[str, Any]) -> str:
    """`exit code 1`, `killed by SIGKILL: out of memory`."""
    if state.get("OOMKilled"):
        return "killed by SIGKILL: out of memory"
    code = int(state.get("ExitCode") or 0)
    said = " ".join(str(state.get("Error") or "").split())
    if said:
        return f"exit code {code}: {said}"
    if code > 128:
        return "killed by SIGKILL" if code == 137 else f"killed by signal {code - 128}"
    return f"exit code {code}"


CHECK_MAX_CHARACTERS = 200


def last_check(state: Mapping[str, Any]) -> str:
    """What the last health check said, where checks fail."""
    health = state.get("Health") or {}
    log = health.get("Log") or ()
    if health.get("Status") != "unhealthy" or not log:
        return ""
    said = " ".join(str(log[-1].get("Output") or "").split())
    return said[-CHECK_MAX_CHARACTERS:] or f"exit code {log[-1].get('ExitCode')}"


_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z")


def when(text: str) -> float | None:
    """Seconds since the epoch; None: never."""
    match = _TIME.match(text)
    if match is None or text.startswith("0001"):
        return None
    whole = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    return whole + float(match[2] or 0)


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isdigit() else 1
