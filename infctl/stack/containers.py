"""Containers as data: what docker-compose.yml says, and what the Docker engine is asked to create. Pure.

Both come from the same `Container`, so that a platform started by `infctl up` is the one that
`docker compose up -d` would start from the rendered file.

    Project      one Compose project: a file, its containers, networks and volumes
    Container    one Compose service
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

SPEC_LABEL = "io.infctl.spec-hash"
"""On every container, from either side: `spec_hash` of what it was made from."""
ROLE_LABEL = "io.infctl.role"
PLATFORM_LABEL = "io.infctl.platform"

Role = Literal["engine", "gateway", "edge", "prepare", "weights", "store", "monitoring"]
Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]


@dataclass(frozen=True, slots=True)
class Mount:
    kind: Literal["bind", "volume"]
    source: str
    """bind: an absolute path on the Docker host, which must exist; volume: a key of `Project.volumes`."""
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Port:
    published: int
    target: int
    host_ip: str = "0.0.0.0"  # noqa: S104 - the profile's bind decides
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """No start_interval: engines before 25 refuse it."""

    test: tuple[str, ...]
    """With its first word, CMD."""
    interval_s: float = 5.0
    timeout_s: float = 5.0
    retries: int = 3
    start_period_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Devices:
    """GPUs of one container. `nvidia`: ids are UUIDs or indices; `cdi`: `nvidia.com/gpu=...`."""

    driver: Literal["nvidia", "cdi"]
    ids: tuple[str, ...]
    capabilities: tuple[str, ...] = ("gpu",)


@dataclass(frozen=True, slots=True)
class Needs:
    """`depends_on`."""

    service: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Attachment:
    network: str
    """A key of `Project.networks`."""
    aliases: tuple[str, ...] = ()
    """Beside the service's and the container's name, which Compose adds."""


@dataclass(frozen=True, slots=True)
class Build:
    context: str
    """Absolute; relative in the rendered file where it lies below the project's folder."""
    args: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Limit:
    """A ulimit."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Container:
    """One Compose service, and the container(s) made from it."""

    service: str
    """`chat0`, `gateway`, `nginx`, `prepare`, `weights`, `prometheus` ..."""
    role: Role
    image: str
    """As it is pulled: `repo:tag` or `repo:tag@sha256:...`."""
    name: str = ""
    """container_name; empty: Compose's own, `<project>-<service>-<n>`."""
    count: int = 1
    """`deploy.replicas`; above 1 there is no name."""
    entrypoint: tuple[str, ...] = ()
    """Empty: the image's."""
    command: tuple[str, ...] = ()
    """Empty: the image's."""
    env: tuple[tuple[str, str], ...] = ()
    """Never a secret."""
    user: str = ""
    """`uid:gid`; empty: the image's."""
    networks: tuple[Attachment, ...] = ()
    """Empty: none at all (`network_mode: none`)."""
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    healthcheck: Healthcheck | None = None
    devices: Devices | None = None
    needs: tuple[Needs, ...] = ()
    read_only: bool = True
    cap_drop: tuple[str, ...] = ("ALL",)
    cap_add: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ("no-new-privileges:true",)
    pids_limit: int | None = None
    shm_bytes: int | None = None
    tmpfs: tuple[tuple[str, str], ...] = ()
    """(path, options) such as ("/tmp", "size=67108864,mode=1777")."""
    limits: tuple[Limit, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    memory_bytes: int | None = None
    cpus: float | None = None
    stop_signal: str = ""
    """Empty: the image's, SIGTERM in the end."""
    stop_grace_s: float = 10.0
    """Whole seconds are what Docker keeps."""
    restart: Literal["unless-stopped", "no"] = "unless-stopped"
    log_max_bytes: int = 10 * 2**20
    log_keep: int = 5
    init: bool = False
    """Docker's own small init as the first process."""
    build: Build | None = None
    pull: Literal["missing", "always", "never"] = "missing"
    """When the image is pulled."""
    labels: tuple[tuple[str, str], ...] = ()
    """Ours, without the spec hash."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(key of the Compose service, or a flag of its command) -> the half sentence its comment says."""

    @property
    def one_shot(self) -> bool:
        """Runs to its end once; others wait for that."""
        return self.restart == "no"

    def container_name(self, project: str, number: int = 1) -> str:
        return self.name or f"{project}-{self.service}-{number}"


@dataclass(frozen=True, slots=True)
class Network:
    key: str
    name: str
    """As Docker knows it: `<project>_<key>`, or another project's."""
    internal: bool = False
    subnet: str | None = None
    external: bool = False
    """Another project makes it."""


@dataclass(frozen=True, slots=True)
class Volume:
    key: str
    name: str
    external: bool = False


@dataclass(frozen=True, slots=True)
class Project:
    """One Compose project."""

    name: str
    file: str
    """Its Compose file, relative to `folder`."""
    folder: str
    """Absolute: where the rendered files lie, on the machine that runs infctl and on the Docker host."""
    containers: tuple[Container, ...]
    """In start order: needs point upwards."""
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()

    def container(self, service: str) -> Container:
        return next(c for c in self.containers if c.service == service)

    def network(self, key: str) -> Network:
        return next(n for n in self.networks if n.key == key)

    def volume(self, key: str) -> Volume:
        return next(v for v in self.volumes if v.key == key)


_NOT_HASHED = ("reasons", "needs", "count", "build", "pull")
"""They are no part of a running container; Compose's own hash leaves the same ones out."""


def spec_hash(container: Container) -> str:
    """Of everything that needs a new container."""
    data = {key: value for key, value in asdict(container).items() if key not in _NOT_HASHED}
    return hashlib.sha256(json.dumps(data, separators=(",", ":"), sort_keys=True).encode()).hexdigest()[:16]


def from_json(data: dict[str, Any]) -> Project:
    """The inverse of `dataclasses.asdict` after a trip through JSON. Raises KeyError or TypeError."""
    return Project(
        **{
            **data,
            "containers": tuple(_container(c) for c in data["containers"]),
            "networks": tuple(Network(**n) for n in data["networks"]),
            "volumes": tuple(Volume(**v) for v in data["volumes"]),
        }
    )


_PARTS: dict[str, type] = {"healthcheck": Healthcheck, "devices": Devices, "build": Build}
_LISTS: dict[str, type] = {
    "mounts": Mount,
    "ports": Port,
    "needs": Needs,
    "networks": Attachment,
    "limits": Limit,
}


def _container(data: dict[str, Any]) -> Container:
    def one(kind: Any, value: Any) -> Any:
        return None if value is None else kind(**{k: _frozen(v) for k, v in value.items()})

    values = {key: _frozen(value) for key, value in data.items()}
    for key, kind in _PARTS.items():
        values[key] = one(kind, data[key])
    for key, kind in _LISTS.items():
        values[key] = tuple(one(kind, item) for item in data[key])
    return Container(**values)


def _frozen(value: Any) -> Any:
    """JSON has lists where these values have tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
