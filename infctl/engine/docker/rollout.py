"""Containers that serve, replaced or taken away with care. What `carry` calls; each role has its own way.

replace   an engine: drained, stopped, the new one proven, undrained; the old one comes back if it fails
          a gateway: the new one beside the old one, nginx turned, no request lost
          nginx: stopped and started quickly, in a quiet moment; its gap is told
          others: stopped and started; the old one comes back if the new one fails
retire    an engine is drained first
recover   what a killed run left is finished or undone
mend      what it left in nginx's files is put back; before files are read
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from infctl.engine.docker import rollout_control as control
from infctl.engine.docker import rollout_edge
from infctl.engine.docker.hands import Hands
from infctl.engine.docker.observed import Seen
from infctl.engine.docker.rollout_aside import Aside
from infctl.engine.docker.rollout_care import Care, EdgeCare, EngineCare
from infctl.engine.docker.rollout_edge import mend
from infctl.engine.docker.rollout_gateway import Turn
from infctl.engine.docker.swap import NEXT, OLD, Swap
from infctl.engine.model import Event
from infctl.stack import Stack
from infctl.stack.containers import Container, Project

__all__ = ["leftover", "mend", "recover", "replace", "retire"]

RECOVER_S = 900.0
"""For an old container to be ready again, where nothing else is known of it."""


def replace(hands: Hands, swap: Swap) -> Iterator[Event]:
    """At the end `swap.container` runs under its name, is ready, and has shown that it works.

    Raises what went wrong, after the old one serves again.
    """
    if hands.find(swap.name) is None:  # renamed by hand
        hands.rename(swap.old, swap.name)
    way = _way(hands, swap.stack, swap.project, swap.container, swap.number, swap.start_s)
    yield from way.run()


def retire(hands: Hands, stack: Stack, seen: Seen) -> Iterator[Event]:
    """One that is no longer wanted. `stack`: what is wanted."""
    if seen.role == "engine" and seen.status == "running":
        container = Container(seen.service, "engine", seen.fields.image, name=seen.name)
        yield from EngineCare(hands, stack.projects, container, seen.name, 0.0).drain()
    hands.stop(seen.id, seen.fields.stop_timeout)
    hands.remove(seen.id, force=True)


def recover(hands: Hands, stack: Stack, found: Iterable[Seen], *, back: bool = False) -> Iterator[Event]:
    """Finish or undo what a killed run left. `back`: undo it where that is still possible.

    Look again afterwards: containers have changed their names.
    """
    done = set()
    for seen in found:
        name = leftover(seen.name)
        if not name or name in done:
            continue
        done.add(name)
        project, container = _described(stack, seen)
        if project is not None and container is not None and seen.role == "gateway":
            way = _way(hands, stack, project, container, seen.number, RECOVER_S)
            yield from way.recover() if isinstance(way, Turn) else way.recover(back=back)
        else:
            care = _care(hands, stack, seen.role, seen.service, name, container, RECOVER_S)
            yield from Aside(hands, seen.service, name, care, RECOVER_S).recover(back=back)


def leftover(name: str) -> str:
    """The name it belongs to, of a container that a replace gave a temporary one; else empty."""
    for ending in (NEXT, OLD):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return ""


def _way(
    hands: Hands, stack: Stack, project: Project, container: Container, number: int, start_s: float
) -> Turn | Aside:
    name = container.container_name(project.name, number)
    if container.role == "gateway" and not container.ports:
        edge = rollout_edge.running(hands, stack.projects)
        if edge is not None and (control.at(hands, container, name) or hands.find(f"{name}{NEXT}")):
            return Turn(hands, edge, stack.projects, project, container, number, start_s)
    care = _care(hands, stack, container.role, container.service, name, container, start_s)
    return Aside(hands, container.service, name, care, start_s, project, container, number)


def _care(
    hands: Hands,
    stack: Stack,
    role: str,
    service: str,
    name: str,
    container: Container | None,
    start_s: float,
) -> Care:
    if role == "engine":
        made = container or Container(service, "engine", "", name=name)
        return EngineCare(hands, stack.projects, made, name, start_s)
    if role == "edge":
        return EdgeCare(hands, stack.projects, service)
    return Care()


def _described(stack: Stack, seen: Seen) -> tuple[Project | None, Container | None]:
    for project in stack.projects:
        for container in project.containers:
            if (project.name, container.service) == (seen.project, seen.service):
                return project, container
    return None, None
