"""What may start when: needs first, everything else at once. Pure; `carry` does it.

a container to be made or started    as soon as what it needs is settled
one that serves and is replaced      alone: nothing else is loading then
a need that is only to be started    is settled once it was started
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from infctl.engine.docker.reconcile import Step
from infctl.stack.containers import Container, Project

Key = tuple[str, str]
"""(project, service)."""


@dataclass(slots=True)
class Board:
    pending: list[Step]
    """In order; kinds create, start and replace of containers."""
    loading: dict[Key, int] = field(default_factory=dict)
    """How many containers of a service are being waited for."""
    settled: set[Key] = field(default_factory=set)
    """Whose containers are all as they should be, as far as nothing is pending."""

    def due(self) -> Step | None:
        """The next to do now. None: wait for what is loading, or, where nothing is, all is done."""
        for step in self.pending:
            if step.container is None or step.project is None or not self._may(step.project, step.container):
                continue
            if is_rollout(step) and self.loading:
                continue
            return step
        return None

    def began(self, step: Step) -> None:
        self.pending.remove(step)
        self.loading[_key(step)] = self.loading.get(_key(step), 0) + 1

    def done(self, key: Key) -> None:
        left = self.loading.pop(key, 1) - 1
        if left:
            self.loading[key] = left
        self.settled.add(key)

    def stuck(self) -> str:
        """In words: what waits for something that will not come."""
        step = self.pending[0]
        container, project = step.container, step.project
        needs = [need.service for need in container.needs] if container is not None else []
        lacking = [name for name in needs if project is None or (project.name, name) not in self.settled]
        return f"{step.action.service} needs {', '.join(lacking)}, which does not run"

    def _may(self, project: Project, container: Container) -> bool:
        return all(
            self._is_settled((project.name, need.service), only_started=need.condition == "service_started")
            for need in container.needs
        )

    def _is_settled(self, key: Key, *, only_started: bool) -> bool:
        if any(_key(step) == key for step in self.pending):
            return False
        if key in self.loading:
            return only_started
        return key in self.settled


def is_rollout(step: Step) -> bool:
    """One that serves is replaced by care; a one-shot is simply made anew."""
    return step.action.kind == "replace" and step.container is not None and not step.container.one_shot


def board(steps: Iterable[Step], settled: Iterable[Key], loading: Iterable[Key]) -> Board:
    pending = [s for s in steps if s.kind == "container" and s.action.kind in ("create", "start", "replace")]
    made = Board(pending, settled=set(settled))
    for key in loading:
        made.loading[key] = made.loading.get(key, 0) + 1
    return made


def _key(step: Step) -> Key:
    return (step.project.name if step.project is not None else "", step.action.service)
