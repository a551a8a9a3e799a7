"""What the Docker engine says of itself and of what it has. The edge of every check that needs Docker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infctl.errors import EngineError

if TYPE_CHECKING:
    from infctl.engine.docker.client import Client
    from infctl.profile.schema import Profile

LABEL_PROJECT = "com.docker.compose.project"


@dataclass(frozen=True, slots=True)
class Image:
    """One that is on the Docker host."""

    created: str = ""
    """As Docker writes it: 2026-01-31T10:00:00.123Z; empty or of the year 1: not known."""
    env: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "amd64"
    digests: tuple[str, ...] = ()
    """`repo@sha256:...`, of images that were pulled."""


@dataclass(frozen=True, slots=True)
class Running:
    """One container."""

    id: str
    name: str
    project: str
    """Of Compose; empty: none."""
    ports: tuple[tuple[str, int], ...] = ()
    """(address, port) it publishes on the Docker host."""


@dataclass(frozen=True, slots=True)
class Docker:
    """An engine that answered."""

    address: str
    """As DOCKER_HOST would say it."""
    is_local: bool
    version: str
    api: tuple[int, ...]
    """That is spoken."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Of `docker info`."""
    client: Client | None = field(default=None, repr=False)
    """None: a made-up engine."""

    @property
    def options(self) -> frozenset[str]:
        """rootless, userns, seccomp, apparmor ..."""
        found = self.info.get("SecurityOptions") or ()
        return frozenset(str(one).removeprefix("name=").partition(",")[0] for one in found)

    @property
    def runtimes(self) -> frozenset[str]:
        return frozenset(self.info.get("Runtimes") or ())

    @property
    def root(self) -> str:
        """Where it keeps images and volumes; empty: not said."""
        return str(self.info.get("DockerRootDir") or "")

    def image(self, name: str) -> Image | None:
        """None: it is not on the Docker host. Raises EngineError."""
        from docker.errors import ImageNotFound  # noqa: PLC0415 - 0.1 s that no other check needs

        from infctl.engine.docker.refusals import told  # noqa: PLC0415

        api = _api(self)
        with told(f"the image {name} cannot be looked at"):
            try:
                found = api.inspect_image(name)
            except ImageNotFound:
                return None
        return image_of(found)

    def containers(self, *, every: bool = False) -> tuple[Running, ...]:
        """All that run; `every`: those that have ended, too. Raises EngineError."""
        from infctl.engine.docker.refusals import told  # noqa: PLC0415

        api = _api(self)
        with told("the containers cannot be listed"):
            return tuple(running_of(one) for one in api.containers(all=every))


def look(environment: Mapping[str, str]) -> Docker:
    """Raises EngineError: no engine, no permission, too old."""
    from infctl.engine.docker.client import connect  # noqa: PLC0415
    from infctl.engine.docker.refusals import told  # noqa: PLC0415

    client = connect(environment)
    with told("Docker cannot be used"):
        version = client.api.version(api_version=False)
        info = client.api.info()
    return Docker(
        address=client.address,
        is_local=client.is_local,
        version=str(version.get("Version", "")),
        api=client.version,
        info=info,
        client=client,
    )


def image_of(found: Mapping[str, Any]) -> Image:
    """From `docker image inspect`."""
    config = found.get("Config") or {}
    pairs = (str(line).partition("=") for line in config.get("Env") or ())
    return Image(
        created=str(found.get("Created") or ""),
        env={name: value for name, _, value in pairs},
        architecture=str(found.get("Architecture") or ""),
        digests=tuple(str(one) for one in found.get("RepoDigests") or ()),
    )


def running_of(found: Mapping[str, Any]) -> Running:
    """From one entry of `docker ps`."""
    names = [str(name).lstrip("/") for name in found.get("Names") or ()]
    ports = {
        (str(port.get("IP") or "0.0.0.0"), int(port["PublicPort"]))  # noqa: S104 - as Docker means it
        for port in found.get("Ports") or ()
        if port.get("PublicPort")
    }
    labels = found.get("Labels") or {}
    return Running(
        id=str(found.get("Id", "")),
        name=names[0] if names else "",
        project=str(labels.get(LABEL_PROJECT, "")),
        ports=tuple(sorted(ports)),
    )


def image_paths(profile: Profile) -> dict[str, str]:
    """Image -> where the profile names it."""
    monitoring = profile.monitoring
    return {
        profile.engines.image: "engines/image",
        profile.gateway.image: "gateway/image",
        profile.edge.image: "edge/image",
        monitoring.prometheus.image: "monitoring/prometheus/image",
        monitoring.grafana.image: "monitoring/grafana/image",
        monitoring.dcgm.image: "monitoring/dcgm/image",
    }


def _api(docker: Docker) -> Any:
    if docker.client is None:
        raise EngineError("there is no Docker engine to ask")
    return docker.client.api
