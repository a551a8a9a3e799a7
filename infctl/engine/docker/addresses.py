"""Who has the names and addresses that containers are about to take: other containers, or processes here."""

from __future__ import annotations

from collections.abc import Iterable

from infctl.engine import procfs
from infctl.engine.docker.client import Client
from infctl.engine.docker.observed import Snapshot
from infctl.engine.docker.reconcile import Step
from infctl.engine.ports import overlap, who
from infctl.errors import EngineError, Problem
from infctl.stack import Stack
from infctl.stack.containers import Container, Port

FIELDS = {
    "gateway": "`gateway/listen`",
    "edge": "`edge/https_port`, `edge/http_port` or `gateway/listen`",
    "monitoring": "its `port` under `monitoring`",
}
"""Where a person writes them in the profile."""


def check_names(stack: Stack, snapshot: Snapshot) -> None:
    """Raises EngineError where a container that is none of ours has a name that one of ours is to have."""
    wanted = {
        container.container_name(project.name, number): container.service
        for project in stack.projects
        for container in project.containers
        for number in range(1, container.count + 1)
    }
    problems = [
        Problem(
            f"it belongs to the project {other.project}" if other.project else "nobody's project",
            path=other.name,
            hint=f"stop it first: `docker compose -p {other.project} down`"
            if other.project
            else f"`docker rm -f {other.name}` removes it",
        )
        for other in snapshot.strangers
        if other.name in wanted
    ]
    if problems:
        names = ", ".join(problem.path for problem in problems)
        raise EngineError(
            f"containers of these names are there already, and are not ours: {names}",
            problems=problems,
            hint=problems[0].hint,
        )


def check(client: Client, steps: Iterable[Step], snapshot: Snapshot) -> None:
    """Raises EngineError naming each address that is held, by whom, and the field to change."""
    starting = [step for step in steps if step.container is not None and step.action.kind != "remove"]
    wanted = [
        (step.container, port)
        for step in starting
        if step.container is not None
        for port in step.container.ports
        if not _has_it(step, port)
    ]
    problems = list(_by_containers(wanted, snapshot))
    if client.is_local and wanted:
        problems += _by_processes(wanted, snapshot)
    if not problems:
        return
    if len(problems) == 1:
        raise EngineError(str(problems[0]), hint=problems[0].hint)
    raise EngineError(f"{len(problems)} addresses are held by others", problems=problems)


def _has_it(step: Step, port: Port) -> bool:
    """The container that is to be replaced publishes it now."""
    seen = step.seen
    return seen is not None and seen.status == "running" and _written(port) in seen.fields.ports


def _written(port: Port) -> str:
    return f"{port.host_ip}:{port.published}->{port.target}/{port.protocol}"


def _by_containers(wanted: Iterable[tuple[Container, Port]], snapshot: Snapshot) -> Iterable[Problem]:
    for container, port in wanted:
        for other in snapshot.strangers:
            for address, number in other.ports:
                if number == port.published and overlap(port.host_ip, address or "0.0.0.0"):  # noqa: S104
                    of = f" of the project {other.project}" if other.project else ""
                    yield _problem(container, port, f"the container {other.name}{of}")


def _by_processes(wanted: Iterable[tuple[Container, Port]], snapshot: Snapshot) -> Iterable[Problem]:
    """Docker's own proxies hold the addresses of containers, which were looked at already."""
    published = {number for other in snapshot.strangers for _, number in other.ports}
    published |= {_number(text) for seen in snapshot.containers for text in seen.fields.ports}
    try:
        listeners = procfs.listeners()
    except OSError:
        return
    for container, port in wanted:
        for one in listeners:
            is_it = one.port == port.published and overlap(port.host_ip, one.address)
            if port.protocol == "tcp" and is_it and one.port not in published:
                yield _problem(container, port, who(procfs.holder_of(one.inode)))


def _number(written: str) -> int:
    return int(written.partition("->")[0].rpartition(":")[2] or 0)


def _problem(container: Container, port: Port, holder: str) -> Problem:
    field = FIELDS.get(container.role, "the port")
    return Problem(
        f"{port.host_ip}:{port.published} is held by {holder}",
        path=container.service,
        hint=f"end it, or change {field} in the profile",
    )
