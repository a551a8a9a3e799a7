"""Processes on one core, and what the kernel says of them and of the machine: CPU time, memory, the rest."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CPUS = sorted(os.sched_getaffinity(0))
PROXY_CPU, LOAD_CPU = CPUS[0], CPUS[1 if len(CPUS) > 1 else 0]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


OTHER_FILES = 64
"""Of a proxy, beside its clients' and its backends' sockets: logs, a store, listeners, an event loop's."""


def allow_many_files(wanted: int = 65_536) -> None:
    """As many open files as one may have: 10,000 streams are 20,000 sockets in a proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(wanted, hard), hard):
        with contextlib.suppress(OSError, ValueError):  # only root may have more than the hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return


def most_streams() -> int:
    """That a proxy on this machine can hold open, each of them two sockets of its own."""
    allow_many_files()
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - OTHER_FILES) // 2


def pinned(cpu: int) -> Callable[[], None]:
    def before_exec() -> None:
        os.sched_setaffinity(0, {cpu})
        allow_many_files()

    return before_exec


@contextlib.contextmanager
def running(
    argv: list[str],
    cpu: int,
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    says_port: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """A process, and what it starts, on one core. Output goes to `log`; of one that says its port, errors."""
    with log.open("w") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if says_port else output,
            stderr=output,
            text=True,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=pinned(cpu),  # noqa: PLW1509 - nothing here has threads
            env={**os.environ, **(env or {})},
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def family(pid: int) -> tuple[int, ...]:
    """The process and all that it started, as it is now."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return tuple(found)


def cpu_s(*pids: int) -> float:
    """Seconds that all threads of the processes have run: the kernel's own count, in ns."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread may just have ended
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def pss_mb(*pids: int) -> float:
    """Memory, with each shared page divided among those who share it."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


@dataclass(frozen=True)
class Clock:
    """How long the machine has run, worked and been held back, in seconds of one core."""

    wall: float
    busy: float
    stolen: float


def machine_clock() -> Clock:
    fields = [int(n) * _TICK_S for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return Clock(time.monotonic(), user + nice + system + irq + softirq, steal)


def load_average() -> float:
    return os.getloadavg()[0]


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    return {
        "cpu": model,
        "cpus": len(CPUS),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
