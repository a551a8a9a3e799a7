"""One container to be put in another's place, as a value: what `rollout.replace` is given. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from infctl.stack import Stack
from infctl.stack.containers import Container, Project

NEXT = "-next"
"""Ends the temporary name of a container that is to take over while the old one still serves."""
OLD = "-old"
"""Ends the temporary name of one that waits, stopped, until its successor has shown that it works."""


@dataclass(frozen=True, slots=True)
class Swap:
    stack: Stack
    project: Project
    container: Container
    """What is wanted."""
    old: str
    """The id of the container that has the name now."""
    number: int = 1
    """Of the service's containers, where there are several."""
    start_s: float = 300.0
    """From its start until it has to be ready."""
    before: Container | None = None
    """What the old one was made from, where that is known."""

    @property
    def name(self) -> str:
        return self.container.container_name(self.project.name, self.number)
