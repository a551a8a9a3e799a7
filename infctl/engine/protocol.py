"""What the commands need of whatever runs a stack: the same of processes and of containers.

    running()   what was applied           observe()   what is there
    plan()      what apply would do        apply(), restart(), revert(), down(): do it, and tell it as events

Methods that return an iterator do their work while it is read. All raise EngineError; `lock` LockError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Protocol

from infctl.engine.logs import LogLine
from infctl.engine.model import Action, Event, Observed
from infctl.stack import Layout, Stack

NO_FILES: Mapping[str, str] = MappingProxyType({})


class Engine(Protocol):
    layout: Layout

    def observe(self) -> Observed:
        """One snapshot of what is there."""

    def running(self) -> Stack | None:
        """The stack last applied and not taken down since."""

    def plan(
        self, stack: Stack, secrets: Mapping[str, str], *, coming: Mapping[str, str] = NO_FILES
    ) -> tuple[Action, ...]:
        """What `apply` would do, and why; empty: nothing.

        `coming`: absolute path -> SHA-256 of files that are written before.
        """

    def lock(self, owner: str) -> AbstractContextManager[None]:
        """Held around every change."""

    def logs(
        self, services: Sequence[str] = (), *, lines: int = 100, follow: bool = False
    ) -> Iterator[LogLine]:
        """The last lines of each service, then, if `follow`, what comes, until the caller stops."""

    def preparations(self, stack: Stack) -> tuple[str, ...]:
        """What `prepare` would do, by the names its events have."""

    def prepare(self, stack: Stack) -> Iterator[Event]:
        """What services need before they start: weights unpacked, images fetched or built."""

    def apply(self, stack: Stack, secrets: Mapping[str, str]) -> Iterator[Event]:
        """Make `stack` what runs; ends when every service is ready."""

    def adopt(self, stack: Stack) -> None:
        """What runs is `stack` already, whoever started it: from now on that is known."""

    def restart(self, names: Sequence[str] = ()) -> Iterator[Event]:
        """Stop and start these services (none named: all)."""

    def previous(self) -> Stack | None:
        """What `apply` of this object replaced; None if nothing ran before."""

    def revert(self) -> Iterator[Event]:
        """Back to what ran before `apply`."""

    def down(self, *, volumes: bool = False) -> Iterator[Event]:
        """Stop everything; `volumes`: of containers, remove those too."""
