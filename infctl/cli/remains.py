"""What is known of a platform without a profile that loads: its folders, its engine, what was applied last.

Enough to stop it, restart it, read its logs, and go back to what it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infctl.cli import console
from infctl.errors import UsageError
from infctl.stack import Layout, Stack

if TYPE_CHECKING:
    import httpx

    from infctl.api import Api
    from infctl.cli.wanted import Wanted
    from infctl.engine.docker.engine import DockerEngine
    from infctl.engine.protocol import Engine
    from infctl.history.applied import Reach
    from infctl.history.entry import Entry
    from infctl.history.store import Store


@dataclass(frozen=True)
class Remains:
    name: str
    layout: Layout
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`.env` with the process's own environment over it."""

    @property
    def runtime(self) -> str:
        """`docker` or `process`."""
        return "docker" if self.layout.beside else "process"

    @cached_property
    def engine(self) -> Engine:
        """Connects to nothing yet."""
        if self.runtime == "docker":
            from infctl.engine.docker.engine import DockerEngine

            return DockerEngine(self.layout)
        from infctl.engine.process import ProcessEngine

        return ProcessEngine(self.layout)

    @property
    def docker(self) -> DockerEngine | None:
        """The engine, where it is that one."""
        if self.runtime != "docker":
            return None
        from infctl.engine.docker.engine import DockerEngine

        return self.engine if isinstance(self.engine, DockerEngine) else None

    @cached_property
    def history(self) -> Store:
        from infctl.history.store import Store

        return Store(self.layout.home / "history", console.warn)

    def applied(self) -> Stack | None:
        """The stack last applied and not taken down since."""
        return self.engine.running()

    def stack(self) -> Stack:
        """What runs, or, where nothing does, what would. Raises UsageError where neither is known."""
        running = self.applied()
        if running is not None:
            return running
        last = next((entry for entry in self.history.newest_first() if entry.applied is not None), None)
        if last is None or last.applied is None:
            raise self._unknown()
        return last.applied.stack

    def warnings(self) -> tuple[str, ...]:
        """Of a profile that loads."""
        return ()

    def last_entry(self) -> Entry | None:
        """Of what runs."""
        from infctl.history.entry import of_running

        running = self.applied()
        return None if running is None else of_running(self.history.newest_first(), running)

    @property
    def book(self) -> Path:
        """Which rendered files infctl wrote, and how."""
        return self.layout.state / "rendered.json"

    # Its services

    def service_names(self) -> tuple[str, ...]:
        """Applied services in order, then whatever else has a container or a log."""
        stack = self.applied()
        running = [service.name for service in stack.services] if stack else []
        return tuple(dict.fromkeys((*running, *self._others())))

    def _others(self) -> list[str]:
        from infctl.engine.logs import service_logs

        if self.docker is not None:
            return [service.name for service in self.docker.observe().services]
        return service_logs(self.layout.logs, ())

    def logged_names(self) -> tuple[str, ...]:
        """With those that ran to their end and left no more than a log, such as `weights`."""
        stack = self.applied()
        projects = stack.projects if stack is not None else ()
        ended = (container.service for project in projects for container in project.containers)
        return tuple(dict.fromkeys((*self.service_names(), *ended)))

    def named(self, given: Iterable[str]) -> tuple[str, ...]:
        """Services as a person names them, by service or by container -> services. Raises UsageError."""
        known = self.logged_names()
        found = []
        for name in given:
            service = name if name in known else name.removeprefix("vllm-").removeprefix("inference-")
            if service not in known:
                raise _stranger(name, known)
            found.append(service)
        return tuple(dict.fromkeys(found))

    def neighbours(self) -> tuple[str, ...]:
        """Other platforms that run from this folder, such as this one before its profile was renamed."""
        homes = sorted(home for home in self.layout.home.parent.glob("*") if home.is_dir())
        return tuple(home.name for home in homes if home.name != self.name and _runs(home))

    def supervisor_pids(self) -> tuple[int, ...]:
        """The one that watches first, then the one that would take over."""
        from infctl.engine import books, procfs

        if self.runtime == "docker":
            return ()
        home = os.path.realpath(self.layout.home)
        book, _ = books.read(str(self.layout.state / books.OBSERVED))
        active = book["supervisor"]["pid"] if book is not None else None
        found = [pid for pid, name in procfs.marked(home).items() if name == procfs.SUPERVISOR]
        return tuple(sorted(found, key=lambda pid: (pid != active, pid)))

    # How it is reached

    def reach(self, stack: Stack) -> Reach:
        """Of `stack`, or of what was applied last. Raises UsageError where neither is known."""
        from infctl.history.entry import of_running

        entries = self.history.newest_first()
        found = of_running(entries, stack) or next((e for e in entries if e.applied is not None), None)
        if found is None or found.applied is None:
            raise self._unknown()
        return found.applied.reach

    def secret(self, name: str) -> str | None:
        """A secret's value, found where the last applied stack found it."""
        from infctl.cli.wanted import value_of

        entry = self.last_entry()
        places = entry.applied.secrets if entry is not None and entry.applied is not None else ()
        return next((value_of(place, self.env) for place in places if place.name == name), None)

    def api(
        self, reach: Reach, secrets: Mapping[str, str] | None = None, *, through_edge: bool = False
    ) -> Api:
        """`secrets`: where the key is, if not where the running stack found it."""
        from infctl.cli import reach as reaching

        name = reach.key_name
        key = (self.secret(name) if secrets is None else secrets.get(name)) if name else None
        return reaching.api(reach, key, through_edge=through_edge, transport=self.transport(reach))

    def transport(self, reach: Reach) -> httpx.BaseTransport | None:
        """The way to the gateway where its address is none of this machine; None: it is one."""
        docker = self.docker
        if docker is None or docker.client.is_local:
            return None
        from infctl.cli.inside import Transport
        from infctl.stack.names import CONTAINER_PORT

        return Transport(docker, {reach.gateway: f"http://127.0.0.1:{CONTAINER_PORT}"})

    def _unknown(self) -> UsageError:
        return UsageError(
            f"nothing is known of {self.name}: nothing was applied here yet",
            hint="infctl validate says what is wrong with the profile",
        )

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Engines' pages (see `fetch`), where their addresses are known. Raises EngineError."""
        if self.docker is None:
            from infctl.cli import fetch

            return fetch.rounds(job)
        from infctl.cli import inside

        return inside.rounds(self.docker, job)

    def wanted(self, entry: Entry) -> Wanted:
        """What an entry of the history applied, to apply it again."""
        from infctl.cli.wanted import of_entry

        return of_entry(entry, self.history, self.layout, self.env)


def _runs(home: Path) -> bool:
    """A supervisor watches there, or what was done last started containers."""
    from infctl.engine import books, locks
    from infctl.history.store import Store

    if locks.is_held(home / "state" / books.SUPERVISOR_LOCK):
        return True
    entries = Store(home / "history", lambda _told: None).newest_first()
    last = next((one for one in entries if one.outcome == "done" and one.changes_the_stack), None)
    return last is not None and last.applied is not None and last.applied.stack.runtime == "docker"


def _stranger(name: str, known: tuple[str, ...]) -> UsageError:
    if not known:
        return UsageError(
            f"there is no service {name!r}: nothing has run here yet", hint="infctl up starts the services"
        )
    return UsageError(f"there is no service {name!r}", hint=f"there are: {', '.join(known)}")
