"""The profile itself, and its smaller sections: `secrets`, `networks`, `hardening`, `logs`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from infctl.profile.schema.base import (
    Capability,
    Cpus,
    EnvName,
    FilePath,
    Flag,
    ModelName,
    Network,
    NetworkName,
    PlatformName,
    Section,
    Size,
    User,
    defaults,
)
from infctl.profile.schema.edge import Edge
from infctl.profile.schema.gateway import Gateway
from infctl.profile.schema.models import Engines, Gpus, Model
from infctl.profile.schema.monitoring import Monitoring


class SecretSource(Section):
    """Where a secret's value comes from; left out: its variable, in the environment or .env."""

    env: EnvName | None = None
    """Another variable that holds it."""
    file: FilePath | None = None
    """A file that holds it; relative to the first profile's folder."""
    generate: Flag = False
    """Made up at random and written to .env where it is missing."""
    optional: Flag = False
    """Its absence is no error."""


class Networks(Section):
    """docker: who can reach whom."""

    frontend: NetworkName = "frontend"
    """nginx and the gateway."""
    backend: NetworkName = "backend"
    """The gateway and the engines."""
    internal: Flag = True
    """The backend network has no way out; weights are fetched by a service on another one."""
    subnet: Network | None = None
    """Addresses of the frontend network; left out: Docker chooses."""


class Hardening(Section):
    """docker: what every container is denied."""

    read_only: Flag = True
    """The root file system cannot be written."""
    cap_drop: tuple[Capability, ...] = ("ALL",)
    """Capabilities taken from every container."""
    cap_add: tuple[Capability, ...] = ()
    """Given back to nginx alone."""
    no_new_privileges: Flag = True
    """No program gains rights by being started."""
    user: User | None = None
    """User and group of all but `prepare`; left out: the owner of the profile's folder, never root."""
    pids_limit: Annotated[int, Field(ge=16, le=1_000_000, strict=True)] = 4096
    """Processes and threads of one container."""
    tmpfs_size: Size = 64 * 2**20
    """Scratch space of each container, in memory."""
    memory: Size | None = None
    """Main memory of the gateway; left out: no limit."""
    cpus: Cpus | None = None
    """CPUs of the gateway; left out: no limit."""


class Logs(Section):
    """Each service's own log file."""

    max_size: Size = 10 * 2**20
    """A new file at this size."""
    keep: Annotated[int, Field(ge=1, le=100, strict=True)] = 5
    """Files kept, the current one counted."""


class Profile(Section):
    """One platform."""

    version: Literal[1] = 1
    """The version of this format."""
    name: PlatformName
    """The platform's name, also its folder's and its Compose project's."""
    runtime: Literal["docker", "process"] = "docker"
    """What runs the services: containers, or processes of this machine."""
    gpus: Gpus = defaults(Gpus)
    """What the models may use."""
    engines: Engines = defaults(Engines)
    """The vLLM that serves the models."""
    models: Annotated[dict[ModelName, Model], Field(min_length=1)]
    """By name, in the order they start."""
    gateway: Gateway = defaults(Gateway)
    """The proxy in front of the models."""
    edge: Edge = defaults(Edge)
    """nginx, in front of the gateway."""
    monitoring: Monitoring = defaults(Monitoring)
    """Prometheus, Grafana, alerts."""
    secrets: dict[EnvName, SecretSource] = Field(default_factory=dict)
    """By variable."""
    networks: Networks = defaults(Networks)
    """docker: who can reach whom."""
    hardening: Hardening = defaults(Hardening)
    """docker: what containers are denied."""
    logs: Logs = defaults(Logs)
    """The services' log files."""

    @property
    def store_kind(self) -> Literal["sqlite", "redis"]:
        """What is written, or what as many gateways as there are need to count together."""
        gateway = self.gateway
        if gateway.store.kind is not None:
            return gateway.store.kind
        several = (gateway.replicas > 1 and self.runtime == "docker") or gateway.store.boxes > 1
        return "redis" if several or gateway.store.url is not None else "sqlite"

    @property
    def renders_redis(self) -> bool:
        """The platform has a Redis of its own."""
        return self.store_kind == "redis" and self.gateway.store.url is None


__all__ = ["Hardening", "Logs", "Networks", "Profile", "SecretSource"]
