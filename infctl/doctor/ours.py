"""Which processes and containers of this machine are the platform's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.docker import Running
from infctl.engine import procfs
from infctl.errors import InfctlError

_CONTAINER = re.compile(r"[0-9a-f]{64}")


def own_containers(case: Case) -> tuple[Running, ...]:
    """Those that run; of the platform and of its monitoring."""
    names = {project.name for project in case.projects} or {case.profile.name}
    return tuple(one for one in case.docker().containers() if one.project in names)


def own_processes(case: Case) -> frozenset[int]:
    """Process ids; of containers all that run in them."""
    if case.profile.runtime == "process":
        if case.layout is None:
            return frozenset()
        return frozenset(procfs.marked(os.path.realpath(case.layout.home)))
    try:
        ids = {one.id for one in own_containers(case)}
    except InfctlError:
        return frozenset()
    return frozenset(pid for pid, found in _in_containers() if found in ids)


def _in_containers() -> Iterator[tuple[int, str]]:
    """(process id, container's id) of every process in a container of this machine."""
    for pid in procfs.pids():
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:  # noqa: PTH123 - as in procfs
                found = _CONTAINER.search(file.read(4096))
        except OSError:
            continue
        if found is not None:
            yield pid, found[0]
