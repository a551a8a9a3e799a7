"""A test's way to Docker: names of its own, containers that go away with it, and questions about them."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from tests.docker.engine import run_id
from tests.docker.images import Images

PROJECT = "com.docker.compose.project"
MARK = "io.infctl.test"
"""Label of what a test makes itself; its value is the run."""
COMPOSE_S = 180.0

T = TypeVar("T")


@dataclass
class DockerHost:
    """The engine of this run. `name()` gives names that no other test, worker or run has."""

    client: docker.DockerClient
    images: Images
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def name(self) -> str:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        return f"{prefix()}{worker}{'-' if worker else ''}{next(self._numbers)}"

    def labels(self) -> dict[str, str]:
        """For what a test makes by the SDK alone, without a project."""
        return {MARK: run_id()}

    @contextmanager
    def project(self, folder: Path) -> Iterator[DockerProject]:
        """A Compose project's name and folder; all of it is removed at the end, also what infctl made."""
        project = DockerProject(self, self.name(), folder)
        try:
            yield project
        finally:
            project.remove()

    @contextmanager
    def run(self, image: str, command: list[str] | None = None, **more: Any) -> Iterator[Container]:
        """A container of its own for as long as the test needs it."""
        container = self.client.containers.run(
            image, command, detach=True, labels=self.labels(), name=self.name(), **more
        )
        try:
            yield container
        finally:
            with suppress(NotFound):
                container.remove(force=True, v=True)


@dataclass
class DockerProject:
    host: DockerHost
    name: str
    folder: Path

    def compose(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        timeout_s: float = COMPOSE_S,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """`docker compose ARGS` in the project's folder; its file names the project."""
        done = subprocess.run(
            ["docker", "compose", *args],
            cwd=self.folder,
            env={**clean_env(), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, (
            f"docker compose {' '.join(args)}\n{done.stdout}{done.stderr}"
        )
        return done

    def containers(self, service: str = "") -> list[Container]:
        """Running or not, oldest first."""
        wanted = [f"{PROJECT}={self.name}"]
        wanted += [f"com.docker.compose.service={service}"] if service else []
        found = self.host.client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)
        return sorted(found, key=lambda one: str(one.attrs["Created"]))

    def container(self, service: str) -> Container:
        (one,) = self.containers(service)
        return one

    def remove(self) -> None:
        """Of the project, of `<name>-monitoring`, and its lock."""
        for name in (f"{self.name}-monitoring", self.name):
            remove(self.host.client, lambda labels, _, name=name: labels.get(PROJECT) == name)
        remove(self.host.client, lambda _, name: name == f"infctl-lock-{self.name}")


def prefix() -> str:
    """Of every name that this run gives."""
    return f"it-{run_id()}-"


def orphans(client: docker.DockerClient) -> list[str]:
    """What this run has left behind, removed and told. Names of one run have its id in them."""
    start = prefix()
    mine = lambda labels, name: (  # noqa: E731
        labels.get(MARK) == run_id() or labels.get(PROJECT, "").startswith(start) or start in name
    )
    return remove(client, mine)


def remove(client: docker.DockerClient, mine: Callable[[Mapping[str, str], str], bool]) -> list[str]:
    """Containers, then networks and volumes, that `mine(labels, name)` wants gone."""
    gone = []
    for container in client.containers.list(all=True, ignore_removed=True):
        if mine(container.labels, str(container.name)):
            with suppress(NotFound, APIError):  # somebody else may be removing it
                container.remove(force=True, v=True)
            gone.append(f"container {container.name}")
    for network in client.networks.list():
        if mine(network.attrs.get("Labels") or {}, str(network.name)):
            with suppress(NotFound):
                network.remove()
            gone.append(f"network {network.name}")
    for volume in client.volumes.list():
        if mine(volume.attrs.get("Labels") or {}, str(volume.name)):
            with suppress(NotFound):
                volume.remove(force=True)
            gone.append(f"volume {volume.name}")
    return gone


def clean_env() -> dict[str, str]:
    """A person's shell: none of the platform's variables, no colours."""
    return {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")} | {"NO_COLOR": "1"}


def until(question: Callable[[], T | None], within_s: float, what: str, every_s: float = 0.1) -> T:
    """The first answer that is not None or False; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        time.sleep(every_s)
    return answer


def state(container: Container) -> dict[str, Any]:
    """As it is now: Status, Running, ExitCode, StartedAt, Health ..."""
    container.reload()
    return dict(container.attrs["State"])


def health(container: Container) -> str:
    """starting, healthy, unhealthy, or empty where it has no healthcheck."""
    return str((state(container).get("Health") or {}).get("Status", ""))


def log(container: Container) -> str:
    return bytes(container.logs()).decode("utf-8", "replace")


def run_in(container: Container, *argv: str) -> tuple[int, str]:
    """`docker exec`: exit code and output."""
    done = container.exec_run(list(argv))
    return int(done.exit_code), bytes(done.output).decode("utf-8", "replace")


GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=30).read().decode())"


def ask(container: Container, url: str) -> str:
    """GET from inside a container that has Python. Fails for any status but 2xx."""
    code, said = run_in(container, "python3", "-c", GET, url)
    assert code == 0, said
    return said
