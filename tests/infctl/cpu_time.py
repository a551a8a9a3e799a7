"""What a command costs in CPU seconds, as on the machine that the limits were written on.

A cloud's cores differ, and one of them is slower while its neighbours are busy: a yardstick, the same small
program each time, is run beside the command, and says by how much. A faster machine is not made slower.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from subprocess import run

YARDSTICK = "x = 0\nfor i in range(3_000_000): x += i * i % 7"
YARDSTICK_S = 0.33
"""Of CPU, with CPython 3.11 on one undisturbed core of an AMD EPYC."""


TRIES = 20


def best(command: Callable[[], object], enough_s: float) -> float:
    """`command` starts one process and waits for it; the fastest of its runs, in seconds of CPU.

    It is run until it has taken less than `enough_s`, or TRIES times.
    """
    least = yard = found = float("inf")
    for _ in range(TRIES):
        yard = min(yard, _cpu(_yardstick))
        least = min(least, _cpu(command))
        found = least / max(1.0, yard / YARDSTICK_S)
        if found < enough_s:
            break
    return found


def _yardstick() -> None:
    run([sys.executable, "-c", YARDSTICK], check=True)


def _cpu(command: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
