"""Can vLLM's CPU build run on this processor?"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

from infctl.cpu import cpu_flags, cpu_problem
from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, skipped

CPUINFO = Path("/proc/cpuinfo")


def look(case: Case) -> Iterator[Finding]:
    if case.uses_gpus:
        yield skipped("the engines run on GPUs")
        return
    text = CPUINFO.read_text(encoding="utf-8", errors="replace") if CPUINFO.exists() else ""
    yield judge(text, platform.machine(), platform.system())


def judge(cpuinfo: str, machine: str, system: str) -> Finding:
    """`cpuinfo`: the text of /proc/cpuinfo."""
    problem = cpu_problem(cpuinfo, machine, system)
    if problem is not None:
        return failure(
            problem,
            why="the engines would end with an illegal instruction",
            fix="a machine whose processor has AVX2, or one with a GPU",
            path="gpus",
        )
    flags = cpu_flags(cpuinfo)
    wide = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "nobody says which"
    return ok(f"vector instructions: {wide}")
