"""What this machine is: CPUs, memory, vector instructions, GPUs, Docker. One look, no guesses."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.cpu import cpu_flags
from infctl.errors import PlanError

if TYPE_CHECKING:
    from infctl.gpus import Gpu

_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Machine:
    system: str
    """Such as `Linux x86_64`."""
    cpus: int
    """That this process may use."""
    memory_bytes: int | None
    """Of the machine, or of the container's limit where that is less."""
    vector: str | None
    """The widest vector instructions vLLM's CPU build can use: avx512, avx2, or None."""
    gpus: tuple[Gpu, ...]
    docker: bool
    """A docker command and a socket that answers to this user exist."""

    @property
    def can_run_local(self) -> bool:
        return self.system == "Linux x86_64" and self.vector is not None


def look() -> Machine:
    """Takes a few milliseconds, or as long as nvidia-smi where there is one."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpus=_cpus(),
        memory_bytes=memory(),
        vector=vector_of(_text("/proc/cpuinfo")),
        gpus=_gpus(),
        docker=_docker(),
    )


def vector_of(cpuinfo: str) -> str | None:
    """/proc/cpuinfo -> avx512, avx2 or None."""
    flags = cpu_flags(cpuinfo)
    if "avx512f" in flags:
        return "avx512"
    return "avx2" if "avx2" in flags else None


def gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / _GIB:.1f} GiB"


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int | None:
    """Bytes of the machine, or of the container's limit where that is less; None: nobody says."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    sizes = [int(match[1]) * 1024] if match else []
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        sizes.append(int(limit))
    return min(sizes, default=None)


def _gpus() -> tuple[Gpu, ...]:
    from infctl.gpus import detect

    try:
        return detect()
    except PlanError:
        return ()


def _docker() -> bool:
    socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    return shutil.which("docker") is not None and os.access(socket, os.R_OK | os.W_OK)


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
