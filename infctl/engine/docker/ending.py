"""Stopping, restarting and removing what is there, wanted or not: by labels, with no stack needed.

What takes requests ends first, so that the engines can finish them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from infctl.engine.docker import networks
from infctl.engine.docker.hands import Hands
from infctl.engine.docker.leftovers import settle
from infctl.engine.docker.observed import Seen, Snapshot
from infctl.engine.docker.reconcile import Plan, Step
from infctl.engine.model import Action, Event
from infctl.errors import EngineError
from infctl.stack import Stack

AT_ONCE = 16
START_S = 1800.0
_FIRST = ("monitoring", "edge", "gateway")
"""Roles that end first, together; then the engines; then whatever else."""


def chosen(containers: Iterable[Seen], names: Sequence[str]) -> tuple[Seen, ...]:
    """Those named; of all, those that stay: a one-shot is run again by name alone. Raises EngineError."""
    found = tuple(containers)
    if not found:
        raise EngineError("nothing runs here", hint="start it with `infctl up`")
    unknown = [name for name in names if name not in {one.service for one in found}]
    if unknown:
        known = ", ".join(dict.fromkeys(one.service for one in found))
        raise EngineError(f"there is no service {', '.join(unknown)}", hint=f"there are: {known}")
    if names:
        return tuple(one for one in found if one.service in names)
    return tuple(one for one in found if one.fields.restart != "no")


def stop(hands: Hands, containers: Iterable[Seen]) -> Iterator[Event]:
    """Each gets the time it was given to finish; those of one group at once."""
    left = list(containers)
    for group in (
        [one for one in left if one.role in _FIRST],
        [one for one in left if one.role == "engine"],
        [one for one in left if one.role not in (*_FIRST, "engine")],
    ):
        if not group:
            continue
        with ThreadPoolExecutor(min(AT_ONCE, len(group))) as pool:
            waiting = {pool.submit(hands.stop, one.id, one.fields.stop_timeout): one for one in group}
            for done in as_completed(waiting):
                done.result()
                if waiting[done].status == "running":
                    yield Event(waiting[done].service, "stopped")


def start(hands: Hands, containers: Iterable[Seen]) -> Iterator[Event]:
    """One after the other, each waited for: what others ask comes before them."""
    order = ("store", "engine", "gateway", "edge")
    rank = {role: place for place, role in enumerate(order)}
    for one in sorted(containers, key=lambda one: rank.get(one.role, len(order))):
        hands.start(one.id)
        yield Event(one.service, "started")
        yield from hands.wait_healthy(one.id, one.service, time.monotonic() + START_S)


def starting(stack: Stack, snapshot: Snapshot, ids: Collection[str]) -> Plan:
    """A plan that starts these again, in the stack's order."""
    settled = settle(snapshot.containers, stack.projects)
    there = {(one.project, one.service, one.number): one for one in settled.containers}
    steps = [
        Step(
            Action("start", container.service, "restart"), "container", project, container, number, seen=seen
        )
        for project in stack.projects
        for container in project.containers
        for number in range(1, container.count + 1)
        if (seen := there.get((project.name, container.service, number))) is not None and seen.id in ids
    ]
    return Plan(steps=tuple(steps), settled=settled)


def down(hands: Hands, projects: Sequence[str], snapshot: Snapshot, *, volumes: bool) -> Iterator[Event]:
    """Containers, then networks, then volumes where that is asked. What is gone already is fine."""
    yield from stop(hands, snapshot.containers)
    for one in snapshot.containers:
        hands.remove(one.id, force=True)
    # The monitoring's first: it is connected to the platform's own.
    for project in reversed(projects):
        for network in snapshot.networks:
            if network.project == project:
                networks.remove(hands.client, network.id)
    if volumes:
        for name, project in snapshot.volumes:
            if project in projects:
                networks.remove_volume(hands.client, name)
