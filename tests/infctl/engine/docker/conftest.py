"""A platform of small containers on a real engine: shells that run, become healthy, and end when asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infctl.engine.docker.engine import DockerEngine
from infctl.engine.docker.observed import Seen
from infctl.engine.model import Event
from infctl.engine.reconcile import describe
from infctl.render import compose
from infctl.stack import ConfigFile, Layout, Readiness, Service, Stack
from infctl.stack.containers import (
    PLATFORM_LABEL,
    ROLE_LABEL,
    Attachment,
    Container,
    Healthcheck,
    Mount,
    Needs,
    Network,
    Project,
    Volume,
)
from tests.docker.host import DockerProject

WITHIN_S = 60.0
SERVE = """
trap 'echo stopping; exit 0' TERM
trap 'echo reloaded; cp /conf/a.conf /tmp/loaded 2>/dev/null' HUP
echo "serving $*"
touch /tmp/ready
while :; do sleep 1 & wait $!; done
"""
"""The image's shell: ready at once; SIGHUP takes in its file; SIGTERM ends it."""
READY = Healthcheck(("CMD", "test", "-e", "/tmp/ready"), interval_s=0.3, timeout_s=5.0, retries=3)


def serving(*flags: str) -> dict[str, Any]:
    return {"entrypoint": ("/bin/sh", "-c"), "command": (SERVE, "sh", *flags)}


def failing(text: str) -> dict[str, Any]:
    return {"entrypoint": ("/bin/sh", "-c"), "command": (f"echo '{text}'; exit 3",)}


class Toy:
    """One platform in a folder of its own."""

    def __init__(self, project: DockerProject, image: str) -> None:
        self.host = project.host
        self.compose = project.compose
        self.name = project.name
        self.folder = project.folder
        self.image = image
        self.layout = Layout(self.folder, self.folder / ".infctl" / self.name, beside=True)
        self.engine = self.another()
        self.services: dict[str, Service] = {}

    def another(self, **environment: str) -> DockerEngine:
        """Another infctl for the same platform."""
        return DockerEngine(self.layout, environment={**os.environ, **environment})

    # Values

    def container(self, service: str, *flags: str, role: Any = "engine", **fields: Any) -> Container:
        settled: dict[str, Any] = {
            "image": self.image,
            "name": f"{self.name}-{service}-c",
            "networks": (Attachment("backend"),),
            "healthcheck": READY,
            "stop_grace_s": 3.0,
            "pids_limit": 100,
            "tmpfs": (("/tmp", "size=1048576,mode=1777"),),
            "labels": ((ROLE_LABEL, role), (PLATFORM_LABEL, self.name)),
            **serving(*flags),
        }
        return Container(service=service, role=role, **{**settled, **fields})

    def one_shot(self, service: str, script: str, role: Any = "prepare", **fields: Any) -> Container:
        settled: dict[str, Any] = {
            "entrypoint": ("/bin/sh", "-c"),
            "command": (script,),
            "restart": "no",
            "name": "",
            "networks": (),
            "healthcheck": None,
        }
        return self.container(service, role=role, **{**settled, **fields})

    def stack(self, *containers: Container, watching: Iterable[Container] = (), **fields: Any) -> Stack:
        projects = [self._project(self.name, "docker-compose.yml", containers, fields)]
        if watching:
            name, file = f"{self.name}-monitoring", "docker-compose.monitoring.yml"
            made = self._project(name, file, tuple(watching), {})
            joined = Network("backend", f"{self.name}_backend", external=True)
            projects.append(replace(made, networks=(joined,)))
        services = tuple(
            self.services.get(one.service)
            or Service(one.service, one.role, (), ready=Readiness("", WITHIN_S))
            for one in containers
            if not one.one_shot
        )
        return Stack(self.name, "docker", services, projects=tuple(projects))

    def _project(
        self, name: str, file: str, containers: tuple[Container, ...], fields: dict[str, Any]
    ) -> Project:
        keys = dict.fromkeys(at.network for one in containers for at in one.networks)
        volumes = dict.fromkeys(m.source for one in containers for m in one.mounts if m.kind == "volume")
        settled: dict[str, Any] = {
            "networks": tuple(Network(key, f"{name}_{key}", internal=key == "backend") for key in keys),
            "volumes": tuple(Volume(key, f"{name}_{key}") for key in volumes),
        }
        return Project(name, file, str(self.folder), containers, **{**settled, **fields})

    def reads(self, service: str, path: Path, *, role: Any = "gateway", **fields: Any) -> Container:
        """A service that mounts the folder of `path` as /conf and reloads at SIGHUP."""
        self.services[service] = Service(
            service,
            role,
            (),
            files=(ConfigFile(str(path), "", "reload"),),
            reload_signal="HUP",
            ready=Readiness("", WITHIN_S),
        )
        mounts = (Mount("bind", str(path.parent), "/conf"),)
        return self.container(service, role=role, **{"mounts": mounts, **fields})

    # Doing

    def write(self, stack: Stack) -> Stack:
        for project in stack.projects:
            file = compose.render(project, self.name, "a test")
            (self.folder / file.path).write_text(file.text)
        return stack

    def up(self, *containers: Container, **fields: Any) -> list[Event]:
        return self.apply(self.stack(*containers, **fields))

    def apply(self, stack: Stack) -> list[Event]:
        return list(self.engine.apply(self.write(stack), {}))

    def plan(self, *containers: Container, **fields: Any) -> str:
        """As `infctl diff` shows it."""
        return describe(self.engine.plan(self.stack(*containers, **fields), {}))

    def docker(self, *argv: str) -> str:
        from tests.docker import engine

        done = engine.docker(*argv)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def seen(self, service: str) -> Seen:
        found = self.engine._containers()
        (one,) = [one for one in found if one.service == service]
        return one

    def ids(self) -> dict[str, str]:
        return {one.name: one.id for one in self.engine._containers()}

    def left(self) -> list[str]:
        """Everything on the host that has the platform's name in its own."""
        client = self.host.client
        found = [c.name for c in client.containers.list(all=True, ignore_removed=True)]
        found += [n.name for n in client.networks.list()]
        found += [v.name for v in client.volumes.list()]
        return sorted(name for name in found if self.name in name)


@pytest.fixture
def toy(docker_project: DockerProject, base_image: str) -> Iterator[Toy]:
    made = Toy(docker_project, base_image)
    yield made
    made.engine.client.close()


def needs(service: str, condition: Any = "service_healthy") -> tuple[Needs, ...]:
    return (Needs(service, condition),)


__all__ = ["Callable", "Toy", "failing", "needs"]
