"""What a command costs in CPU seconds, as on the machine that the limits were written on.

A cloud's cores differ, and one of them is slower while its neighbours are busy: a yardstick, the same small
program each time, is run beside the command, and says by how much. A faster machine is not made slower.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen, run

YARDSTICK = "x = 0\nfor i in range(3_000_000): x += i * i % 7"
YARDSTICK_S = 0.33
"""Of CPU, with CPython 3.11 on one undisturbed core of an AMD EPYC."""


TRIES = 20


def best(command: Callable[[], object], enough_s: float) -> float:
    """`command` starts one process and waits for it; the fastest of its runs, in seconds of CPU.

    It is run until it has taken less than `enough_s`, or TRIES times.
    """
    return _fastest(lambda: _cpu(command), lambda: _cpu(_yardstick), enough_s)


def own(work: Callable[[], object], enough_s: float) -> float:
    """The same of `work` in this process, in seconds of CPU of this thread."""
    return _fastest(lambda: _own(work), lambda: _own(lambda: exec(YARDSTICK, {})), enough_s)


def by_clock(start: Callable[[], Popen[str]], enough_s: float) -> float:
    """The same by a clock, less what the process waited for a core that others had.

    On a slower machine its CPU time, and that alone, is counted as less. `start` starts it with one pipe for
    all that it says.
    """
    yard = found = float("inf")
    for _ in range(TRIES):
        yard = min(yard, _cpu(_yardstick))
        took_s, cpu_s = _undisturbed(start)
        found = min(found, took_s - cpu_s + cpu_s / max(1.0, yard / YARDSTICK_S))
        if found < enough_s:
            break
    return found


def _fastest(seconds: Callable[[], float], yardstick: Callable[[], float], enough_s: float) -> float:
    least = yard = found = float("inf")
    for _ in range(TRIES):
        yard = min(yard, yardstick())
        least = min(least, seconds())
        found = least / max(1.0, yard / YARDSTICK_S)
        if found < enough_s:
            break
    return found


def _own(work: Callable[[], object]) -> float:
    before = time.thread_time()
    work()
    return time.thread_time() - before


def _undisturbed(start: Callable[[], Popen[str]]) -> tuple[float, float]:
    """Seconds by a clock without those of waiting for a core, and those on a core."""
    begun = time.monotonic()
    with start() as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        took_s = time.monotonic() - begun
        on_core_ns, waited_ns, _ = map(int, Path(f"/proc/{process.pid}/schedstat").read_text().split())
        said, _ = process.communicate()
    assert process.returncode == 0, said
    return took_s - waited_ns / 1e9, on_core_ns / 1e9


def _yardstick() -> None:
    run([sys.executable, "-c", YARDSTICK], check=True)


def _cpu(command: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
