"""Memory of a service: its process and everything it started, read from /proc in one pass."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    group: int
    session: int
    rss_bytes: int


def table() -> dict[int, Process]:
    """Every process this user can see. Empty where there is no /proc."""
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended meanwhile
        process = parse_stat(stat, page)
        if process is not None:
            found[process.pid] = process
    return found


def parse_stat(text: str, page_bytes: int) -> Process | None:
    """One /proc/PID/stat. The name in parentheses may hold spaces and parentheses itself."""
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    if not head or len(fields) < 22:
        return None
    return Process(
        pid=int(head.split(" ", 1)[0]),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        rss_bytes=int(fields[21]) * page_bytes,
    )


def family(pid: int, processes: Mapping[int, Process]) -> set[int]:
    """`pid`, its descendants, and whoever shares the group it leads."""
    if pid not in processes:
        return set()
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    todo = [pid, *(p.pid for p in processes.values() if p.group == pid)]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += children.get(one, ())
    return found


def rss_bytes(pid: int | None, processes: Mapping[int, Process]) -> int | None:
    """Resident memory of the whole family (pages that it shares are counted once a process)."""
    if pid is None or pid not in processes:
        return None
    return sum(processes[one].rss_bytes for one in family(pid, processes))
