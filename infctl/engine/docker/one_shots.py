"""Weights fetched by themselves: the one-shots that do it and what they need, nothing else touched. Pure."""

from __future__ import annotations

from dataclasses import replace

from infctl.engine.docker.observed import Snapshot
from infctl.engine.docker.reconcile import Plan, Step
from infctl.engine.model import Action
from infctl.stack import Stack
from infctl.stack.containers import Container, Project

FETCHES = "weights"


def part_of(stack: Stack) -> Stack:
    """The platform's project with what fetches and what that needs; without projects where nothing does."""
    projects = []
    for project in stack.projects:
        wanted = {one.service for one in project.containers if one.role == FETCHES}
        for one in reversed(project.containers):  # needs point upwards
            wanted |= {need.service for need in one.needs} if one.service in wanted else set()
        containers = tuple(one for one in project.containers if one.service in wanted)
        if containers:
            projects.append(_with(project, containers))
    return replace(stack, services=(), projects=tuple(projects))


def plan_of(part: Stack, plan: Plan, snapshot: Snapshot) -> Plan:
    """`plan` of `part` with nothing removed; what fetched before starts again: its files may be gone."""
    steps = [step for step in plan.steps if step.container is not None or step.action.kind == "create"]
    due = {(step.project.name, step.container.service) for step in steps if step.project and step.container}
    for project in part.projects:
        for container in project.containers:
            if container.role != FETCHES or (project.name, container.service) in due:
                continue
            action = Action("start", container.service, "asked for")
            steps += [
                Step(action, "container", project, container, seen.number, seen=seen)
                for seen in snapshot.of(project.name, container.service)
                if seen.is_done
            ]
    return Plan((), tuple(steps), plan.settled)


def _with(project: Project, containers: tuple[Container, ...]) -> Project:
    networks = {at.network for one in containers for at in one.networks}
    volumes = {mount.source for one in containers for mount in one.mounts if mount.kind == "volume"}
    return replace(
        project,
        containers=containers,
        networks=tuple(one for one in project.networks if one.key in networks),
        volumes=tuple(one for one in project.volumes if one.key in volumes),
    )
