"""Can this machine's CPU run the local stack? vLLM's CPU build needs AVX2 at least.

`python -m infctl.cpu` says so in words and by its exit code. Pure but for the reading of /proc/cpuinfo.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path


def cpu_problem(cpuinfo: str, machine: str = "x86_64", system: str = "Linux") -> str | None:
    """Why vLLM cannot run here, or None. `cpuinfo`: the text of /proc/cpuinfo."""
    if system != "Linux" or machine not in {"x86_64", "AMD64"}:
        return f"the local stack runs on Linux x86-64; this is {system} {machine}"
    flags = cpu_flags(cpuinfo)
    if not flags:
        return None  # nothing is known, so nothing is wrong: vLLM will say
    if "avx2" not in flags:
        return (
            "this CPU has neither AVX-512 nor AVX2, which vLLM needs"
            " (a virtual machine may hide them: let it pass the host's CPU through)"
        )
    return None


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The instruction sets of the first core."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def this_machine() -> str | None:
    """`cpu_problem` of the machine this runs on."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return cpu_problem(text, platform.machine(), platform.system())


if __name__ == "__main__":
    if (problem := this_machine()) is not None:
        sys.stderr.write(f"error: {problem}\n  everything but the local stack works here: make setup\n")
        sys.exit(1)
