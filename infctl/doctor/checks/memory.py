"""Has this machine the memory that engines on its CPU take?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped, warning
from infctl.doctor.ours import own_processes
from infctl.engine import procfs
from infctl.figure import GIB, gib
from infctl.plan import Plan

REST = GIB
"""For the gateway, nginx and everything else on the machine."""


def look(case: Case) -> Iterator[Finding]:
    if case.uses_gpus:
        yield skipped("the engines run on GPUs")
        return
    if case.plan is None:
        return
    total, free = memory(_text("/proc/meminfo"), _text("/sys/fs/cgroup/memory.max"))
    if total is None or free is None:
        yield skipped("this machine does not say how much memory it has")
        return
    yield judge(taken(case.plan), total, free + _own(case))


def judge(needed: int, total: int, free: int) -> Finding:
    """Bytes. `free`: with what this platform holds already."""
    if needed > total:
        return failure(
            f"the engines take {gib(needed)} together, and this machine has {gib(total)}",
            why="the kernel would end one of them, or they would not start",
            fix="smaller kv_cache_memory, smaller or fewer models, or fewer replicas",
            path="models",
        )
    if needed + REST > free:
        return warning(
            f"the engines take {gib(needed)} together, and {gib(free)} of {gib(total)} are free",
            why="what other programs hold is missing to them",
            fix="end other programs, or write a smaller kv_cache_memory",
            path="models",
        )
    return ok(f"{gib(free)} of {gib(total)} are free, the engines take {gib(needed)}")


def taken(plan: Plan) -> int:
    """By all engines that were sized."""
    return sum(replica.need.footprint.expected for replica in plan.replicas if replica.need is not None)


def memory(meminfo: str, limit: str) -> tuple[int | None, int | None]:
    """(total, free), a container's limit minded; None: not said."""
    sizes = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", meminfo, re.MULTILINE))
    if "MemTotal" not in sizes or "MemAvailable" not in sizes:
        return None, None
    total, free = int(sizes["MemTotal"]) * 1024, int(sizes["MemAvailable"]) * 1024
    most = int(limit) if limit.strip().isdecimal() else total
    return min(total, most), min(free, most)


def _own(case: Case) -> int:
    """Bytes that this platform's processes hold, and would give back or keep."""
    return sum(_resident(pid) for pid in own_processes(case))


def _resident(pid: int) -> int:
    found = re.search(r"^RssAnon:\s+(\d+) kB", _text(f"/proc/{pid}/status"), re.MULTILINE)
    return int(found[1]) * 1024 if found and procfs.look(pid) is not None else 0


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
