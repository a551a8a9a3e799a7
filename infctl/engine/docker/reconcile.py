"""What to do so that the Docker host has what is wanted, and why. Pure: `steps(stack, snapshot, news)`.

    found                                   action
    no network, no volume, no container     create
    another platform's network, subnet      replace (its containers stay, and are connected anew)
    ended, created, paused, in a loop       start
    another definition, edited by hand      replace
    disconnected by hand                    reload (connected again as it runs)
    unhealthy                               replace
    changed contents of mounted files       reload, or replace where that is no use
    a one-shot that ended well              nothing
    of ours, and not wanted                 remove

The cause of each is in the words of whoever wrote the profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from infctl.engine.docker import fields, payload
from infctl.engine.docker.fields import Brought, Fields
from infctl.engine.docker.leftovers import Repair, Settled, settle
from infctl.engine.docker.observed import Seen, SeenNetwork, Snapshot
from infctl.engine.model import Action, ActionKind
from infctl.stack import Stack
from infctl.stack.containers import Container, Network, Project, Volume, spec_hash

CAUSES_SHOWN_MAX = 6
EDITED = "edited by hand: "


@dataclass(frozen=True, slots=True)
class News:
    """What has changed for one container although its definition has not."""

    reload: tuple[str, ...] = ()
    """In words: `nginx.conf changed`. A reload is enough."""
    replace: tuple[str, ...] = ()
    """`secret BACKEND_API_KEY changed`. Only a new start helps."""


NO_NEWS: Mapping[str, News] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Step:
    """An action, and what it is about."""

    action: Action
    kind: Literal["network", "volume", "container"]
    project: Project | None = None
    """None: of something that is not wanted."""
    container: Container | None = None
    number: int = 1
    seen: Seen | None = None
    network: Network | None = None
    volume: Volume | None = None
    found: SeenNetwork | None = None
    """The network that is there, and is to be replaced or removed."""
    news: News = field(default_factory=News)


@dataclass(frozen=True, slots=True)
class Plan:
    repairs: tuple[Repair, ...] = ()
    """First: what an interrupted run left."""
    steps: tuple[Step, ...] = ()
    settled: Settled = field(default_factory=lambda: Settled(()))
    """What is there once the repairs are done."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """Repairs too: the plan is not empty while something is left over."""
        touched = {step.seen.id for step in self.steps if step.seen is not None}
        left = [one for one in self.repairs if one.container.id not in touched]
        return (
            *(
                Action(
                    "remove" if one.verb == "remove" else "reload",
                    one.container.service,
                    f"{one.container.name} was {one.why}",
                )
                for one in left
            ),
            *(step.action for step in self.steps),
        )


def plan(
    stack: Stack, snapshot: Snapshot, news: Mapping[str, News] = NO_NEWS, *, ours: tuple[str, ...] = ()
) -> Plan:
    """`news`: by container id. `ours`: further projects whose remains are to go, wanted or not."""
    settled = settle(snapshot.containers, stack.projects)
    names = tuple(dict.fromkeys((*(project.name for project in stack.projects), *ours)))
    found = replace(snapshot, containers=settled.containers)
    steps = (
        *_networks(stack, found),
        *_volumes(stack, found),
        *_unwanted(stack, found, names),
        *(step for project in stack.projects for step in _containers(project, found, news)),
        *_unwanted_networks(stack, found, names),
    )
    return Plan(settled.repairs, steps, settled)


def wanted_fields(project: Project, container: Container, number: int, image: Brought | None) -> Fields:
    """What `docker inspect` should say of it."""
    body = payload.create(project, container, image_id="", number=number)
    return fields.wanted(body, payload.endpoints(project, container, number=number), image)


# Networks and volumes


def _networks(stack: Stack, found: Snapshot) -> Iterator[Step]:
    for project in stack.projects:
        for network in project.networks:
            if network.external:
                continue
            seen = found.network(network.name)
            cause = "not there" if seen is None else _network_cause(project, network, seen)
            if cause:
                kind: ActionKind = "create" if seen is None else "replace"
                action = Action(kind, f"network {network.key}", cause)
                yield Step(action, "network", project, network=network, found=seen)


def _network_cause(project: Project, wanted: Network, seen: SeenNetwork) -> str:
    if seen.project != project.name:
        return f"it belongs to {seen.project or 'nobody'} -> {project.name}"
    if seen.internal != wanted.internal:
        way = ("has a way out", "has none")
        return f"it {way[seen.internal]} -> {way[wanted.internal]}"
    if wanted.subnet is not None and wanted.subnet not in seen.subnets:
        return f"subnet {', '.join(seen.subnets) or 'none'} -> {wanted.subnet}"
    return ""


def _volumes(stack: Stack, found: Snapshot) -> Iterator[Step]:
    there = {name for name, _ in found.volumes}
    for project in stack.projects:
        for volume in project.volumes:
            if not volume.external and volume.name not in there:
                yield Step(
                    Action("create", f"volume {volume.key}", "not there"), "volume", project, volume=volume
                )


def _unwanted_networks(stack: Stack, found: Snapshot, names: tuple[str, ...]) -> Iterator[Step]:
    wanted = {network.name for project in stack.projects for network in project.networks}
    for seen in found.networks:
        if seen.project in names and seen.name not in wanted:
            action = Action("remove", f"network {seen.name}", "no longer in the profile")
            yield Step(action, "network", found=seen)


def _unwanted(stack: Stack, found: Snapshot, names: tuple[str, ...]) -> Iterator[Step]:
    wanted = {
        (project.name, container.service, number)
        for project in stack.projects
        for container in project.containers
        for number in range(1, container.count + 1)
    }
    for seen in found.containers:
        if seen.project in names and (seen.project, seen.service, seen.number) not in wanted:
            action = Action("remove", seen.service, "no longer in the profile")
            yield Step(action, "container", seen=seen, number=seen.number)


# Containers


def _containers(project: Project, found: Snapshot, news: Mapping[str, News]) -> Iterator[Step]:
    there = {(seen.service, seen.number): seen for seen in found.containers if seen.project == project.name}
    for container in project.containers:
        for number in range(1, container.count + 1):
            seen = there.get((container.service, number))
            told = news.get(seen.id, News()) if seen is not None else News()
            kind, cause = _decide(project, container, number, seen, found, told)
            if kind is not None:
                action = Action(kind, container.service, cause)
                yield Step(action, "container", project, container, number, seen, news=told)


def _decide(
    project: Project, container: Container, number: int, seen: Seen | None, found: Snapshot, news: News
) -> tuple[ActionKind | None, str]:
    if seen is None:
        return "create", "not there"
    causes = list(_definition(project, container, number, seen, found))
    if causes:
        return "replace", _joined(causes)
    if container.one_shot:
        return _one_shot(seen, news)
    if news.replace:
        return "replace", _joined(news.replace)
    kind, cause = _running(seen)
    if kind is not None:
        return kind, cause
    apart = [EDITED + text for text in _apart(project, container, number, seen)]
    told = (*apart, *news.reload)
    return ("reload", _joined(told)) if told else (None, "")


def _one_shot(seen: Seen, news: News) -> tuple[ActionKind | None, str]:
    if seen.status == "running":
        return None, ""
    if not seen.is_done:
        return "start", f"failed before: {seen.last_exit}" if seen.last_exit else "has not run yet"
    told = (*news.replace, *news.reload)
    return ("start", _joined(told)) if told else (None, "")


def _running(seen: Seen) -> tuple[ActionKind | None, str]:
    """What is wrong with how it runs, its definition being right."""
    if seen.status == "running":
        return ("replace", f"unhealthy: {seen.last_check}") if seen.health == "unhealthy" else (None, "")
    if seen.status == "restarting":
        return "start", f"restarts in a loop ({seen.restarts} times): {seen.last_exit}"
    if seen.status == "dead":
        return "replace", "the engine could not remove it whole"
    words = {"created": "created, and never started", "paused": "paused by hand"}
    return "start", words.get(seen.status, f"stopped: {seen.last_exit}")


def _definition(
    project: Project, container: Container, number: int, seen: Seen, found: Snapshot
) -> Iterator[str]:
    """Why it needs a new container. Networks apart: those are put right as it runs."""
    # What the image brings is the image's: of another image only its name is told.
    brought = found.images.get(seen.image_id) or _assumed(seen)
    wanted = wanted_fields(project, container, number, brought)
    name = container.container_name(project.name, number)
    causes = list(fields.differences(seen.fields, replace(wanted, networks=seen.fields.networks)))
    if seen.name != name:
        causes.append(f"container {seen.name} -> {name}")
    if seen.spec_hash != spec_hash(container):
        causes += fields.network_changes(seen.fields, wanted)
        if not causes:
            causes.append("its definition changed")
    elif causes:
        causes[0] = EDITED + causes[0]
    now = found.images.get(container.image)
    if now is not None and now.id != seen.image_id and seen.fields.image == container.image:
        causes.append(f"image {container.image} was made anew")
    yield from causes


def _apart(project: Project, container: Container, number: int, seen: Seen) -> Iterator[str]:
    wanted = wanted_fields(project, container, number, None)
    yield from fields.network_changes(seen.fields, wanted)


def _assumed(seen: Seen) -> Brought:
    """Its image is gone: what it has and nobody asked for counts as the image's."""
    return Brought(seen.image_id, env=dict(seen.fields.env), command=seen.fields.argv, user=seen.fields.user)


def _joined(causes: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(causes[:CAUSES_SHOWN_MAX])
    more = len(causes) - CAUSES_SHOWN_MAX
    return f"{shown} and {more} more" if more > 0 else shown
