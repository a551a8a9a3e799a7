"""A platform as data: which services run, with which argv, environment, files, order and health.

Pure. `infctl.stack.build` turns a profile and a plan into a `Stack`; renderers and engines read nothing else.
The types alone are here, because the supervisor and `infctl --help` must not wait for a schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infctl.stack.containers import Project

Role = Literal["engine", "gateway", "edge"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one platform's files lie. All paths absolute; nothing is created here."""

    base: Path
    """The first profile's folder; `.env` is looked for here."""
    home: Path
    """`<base>/.infctl/<platform name>`: everything below is infctl's own, 0700."""
    beside: bool = False
    """Rendered files lie beside the profile, where Compose looks for them (runtime: docker)."""

    @property
    def env_file(self) -> Path:
        return self.base / ".env"

    @property
    def calibration(self) -> Path:
        """What engines measured here, of all platforms in this folder."""
        return self.home.parent / "calibration.json"

    @property
    def rendered(self) -> Path:
        """Files a person may read and diff: of processes nginx.conf, gateway.yaml, supervisor.json, tls/;
        of containers docker-compose.yml, gateway/, nginx/ and so on, beside the profile.
        """
        return self.base if self.beside else self.home / "rendered"

    @property
    def logs(self) -> Path:
        """One file a service, `<service>.log`, and its rotated copies `.log.1`, `.log.2` ..."""
        return self.home / "logs"

    @property
    def audit(self) -> Path:
        """The gateway's audit trail (runtime: process; containers keep it in a volume)."""
        return self.home / "audit"

    @property
    def anchors(self) -> Path:
        """How long each of its chains is: not in the trail's own folder."""
        return self.home / "anchors"

    @property
    def counts(self) -> Path:
        """The gateway's counts, and keys and limits set at run time (containers keep them in a volume)."""
        return self.home / "counts"

    @property
    def state(self) -> Path:
        """The engine's own books."""
        return self.home / "state"


@dataclass(frozen=True, slots=True)
class Readiness:
    """A service is ready when GET `url` answers 200."""

    url: str
    timeout_s: float
    """From process start; after it the start counts as failed."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A rendered file the service reads, and what a changed one asks for."""

    path: str
    """Absolute."""
    sha256: str
    on_change: Literal["reload", "restart"]


@dataclass(frozen=True, slots=True)
class Service:
    """One process (or container)."""

    name: str
    role: Role
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    """Added to a clean environment. Never a secret."""
    secret_env: tuple[tuple[str, str], ...] = ()
    """(variable in the child, name of the secret): resolved when the process starts, never rendered."""
    files: tuple[ConfigFile, ...] = ()
    ready: Readiness | None = None
    start_group: str | None = None
    """Of one group at most one service is loading at a time (GPU neighbours; the one CPU)."""
    after: tuple[str, ...] = ()
    """Started once these have been started (not: are ready)."""
    reload_signal: Literal["HUP"] | None = None
    stop_signal: Literal["TERM", "QUIT"] = "TERM"
    """What asks it to finish what it has and end. nginx cuts its connections at TERM, and drains at QUIT."""
    stop_timeout_s: float = 30.0
    """From the stop signal to SIGKILL."""
    listen: tuple[tuple[str, int], ...] = ()
    """Addresses the service will bind: checked for strangers before it starts."""
    models: tuple[str, ...] = ()
    """Models served (engines only)."""
    gpu: str | None = None
    """Value of CUDA_VISIBLE_DEVICES, where there is one."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """Done once before the services start, such as unpacking weights. Skipped if `creates` exists."""

    name: str
    argv: tuple[str, ...]
    creates: str


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Of each service's log. New ones hold at once: no service notices."""

    max_bytes: int = 10 * 2**20
    """A larger file is turned over."""
    keep: int = 5
    """Files in all, the one being written counted. At 1 what is turned over is gone."""


@dataclass(frozen=True, slots=True)
class Stack:
    name: str
    runtime: Literal["process", "docker"]
    services: tuple[Service, ...]
    prepare: tuple[Preparation, ...] = ()
    logs: LogLimits = LogLimits()
    projects: tuple[Project, ...] = ()
    """docker: the platform's Compose project, then the monitoring's. Empty for processes."""

    def service(self, name: str) -> Service:
        return next(s for s in self.services if s.name == name)
