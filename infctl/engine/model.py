"""The values every engine speaks: what is (Observed), what to do and why (Action), what happened (Event)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infctl.stack import Service

State = Literal["stopped", "waiting", "starting", "ready", "unhealthy", "backoff", "failed", "stopping"]
"""waiting: for its turn in the start group. starting: process up, not ready yet. unhealthy: it was ready, and
its health check fails (docker). backoff: crashed, will be tried again (at `next_start_at`). failed: gave up
(start time-out, or too many crashes before ever ready); of a container, ended with an error."""


@dataclass(frozen=True, slots=True)
class ObservedService:
    name: str
    state: State
    pid: int | None = None
    started_at: float | None = None
    """Seconds since the epoch."""
    ready_at: float | None = None
    restarts: int = 0
    """Unplanned restarts since `up` started it."""
    spec_hash: str = ""
    """Of what would need a new process; compared with the wanted service's."""
    files_hash: str = ""
    """Of what a reload is enough for."""
    last_exit: str = ""
    """Such as `exit code 1` or `killed by SIGKILL`."""
    next_start_at: float | None = None
    running: Service | None = None
    """What it was started from, so that a change can be named."""
    secret_digests: tuple[tuple[str, str], ...] = ()
    """(name of the secret, digest of the value it was started with)."""
    container: str = ""
    """docker: its name, as `docker logs` takes it."""
    image: str = ""
    """docker: as it was asked for."""
    image_id: str = ""
    """docker: what that was when it was created, `sha256:...`."""
    health: str = ""
    """docker: starting, healthy, unhealthy; empty: it has no check."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One snapshot, after which the reconciler asks nothing more."""

    supervised: bool
    """Someone restarts what crashes."""
    services: tuple[ObservedService, ...] = ()
    notes: tuple[str, ...] = ()
    """What was found damaged or stale, and what was done about it."""

    def service(self, name: str) -> ObservedService | None:
        return next((s for s in self.services if s.name == name), None)


ActionKind = Literal["create", "start", "replace", "reload", "remove", "supervise"]
"""create: there is no container; start: there is one, or a process is to be born."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do, and why: explaining and doing come from the same value."""

    kind: ActionKind
    service: str
    cause: str
    """In the owner's words: `--max-model-len 2048 -> 4096`, `not running`, `no longer in the profile`."""
    effect: str = ""
    """What it changes for users: `KV tokens 80,400 -> 79,900`."""
    away_s: float | None = None
    """Seconds for which nobody serves what it serves; 0: nobody notices; None: not known."""


EventKind = Literal[
    "started", "waiting", "loading", "ready", "reloaded", "stopped", "crashed", "failed", "note"
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened, for the progress display."""

    service: str
    kind: EventKind
    text: str = ""
    elapsed_s: float = 0.0
    """Since this service's start."""
