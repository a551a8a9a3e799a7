"""What is looked at: a profile, its plan and stack as far as they exist, and this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infctl.doctor.docker import Docker
from infctl.doctor.docker import look as look_at_docker
from infctl.doctor.once import Once
from infctl.errors import InfctlError
from infctl.plan import Plan
from infctl.profile.loading import LoadedProfile
from infctl.profile.schema import Profile
from infctl.render import RenderedFile
from infctl.stack import Layout, Stack
from infctl.stack.containers import Container, Project


@dataclass(frozen=True, slots=True)
class Case:
    """One look at one platform."""

    files: tuple[Path, ...]
    """Profile and overlays."""
    env: Mapping[str, str]
    """`.env` with the process's own environment over it."""
    shell: Mapping[str, str] = field(default_factory=dict)
    """The process's own environment alone."""
    loaded: LoadedProfile | None = None
    layout: Layout | None = None
    plan: Plan | None = None
    stack: Stack | None = None
    rendered: tuple[RenderedFile, ...] = ()
    wrong: Mapping[str, InfctlError] = field(default_factory=dict)
    """`profile`, `plan`: why there is none."""
    offline: bool = False
    """Nobody beyond this machine is asked, the Docker engine excepted."""
    now: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    docker: Once[Docker] = field(default_factory=lambda: Once(lambda: look_at_docker({})))

    @property
    def profile(self) -> Profile:
        """Only for checks that need a profile."""
        if self.loaded is None:
            raise LookupError("no profile")
        return self.loaded.profile

    @property
    def folder(self) -> Path:
        """The first profile's."""
        return self.files[0].absolute().parent

    def engine(self) -> Docker | None:
        """The Docker engine; None where the profile starts no containers, or Docker does not answer."""
        if self.loaded is None or self.loaded.profile.runtime != "docker":
            return None
        try:
            return self.docker()
        except InfctlError:
            return None

    def close(self) -> None:
        """The connection to Docker, where one was opened."""
        found = self.docker.found()
        if found is not None and found.client is not None:
            found.client.close()

    @property
    def elsewhere(self) -> bool:
        """The services run on another machine than this one."""
        engine = self.engine()
        return engine is not None and not engine.is_local

    @property
    def projects(self) -> tuple[Project, ...]:
        return self.stack.projects if self.stack is not None else ()

    @property
    def containers(self) -> tuple[Container, ...]:
        """Of all projects."""
        return tuple(container for project in self.projects for container in project.containers)

    @property
    def uses_gpus(self) -> bool:
        return self.loaded is not None and self.loaded.profile.gpus.kind != "cpu"
