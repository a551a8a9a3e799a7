"""What the client saw of itself while it ran: its CPU, how late its loop was, its waits for a core."""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EVERY_S = 0.005
_TIMER_S = 0.001
"""A timer is a millisecond coarse: that much is no lag."""
Rings = tuple[Sequence[float], Sequence[float]]
"""When a timer rang, in seconds after the start; and how late each was."""
_SCHEDSTAT = Path("/proc/self/schedstat")
_THROTTLE = "devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"


class Watch:
    """start(), then stop() -> cpu_share, run_delay_share, throttled; `lateness` tells of its `rings`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.rings = array("d"), array("d")  # of an hour 12 MB; as a list of pairs 75
        self._on = False

    def start(self) -> None:
        self._on = True
        self._wall, self._cpu, self._delay = time.perf_counter(), time.process_time(), _run_delay_s()
        self._throttled = _throttled()
        self._arm()

    def stop(self) -> dict[str, Any]:
        self._on = False
        wall = max(time.perf_counter() - self._wall, 1e-9)
        delay, throttled = _run_delay_s(), _throttled()
        known = delay is not None and self._delay is not None
        hot = throttled is not None and self._throttled is not None
        return {
            "cpu_share": (time.process_time() - self._cpu) / wall,
            "run_delay_share": (delay - self._delay) / wall if known else None,  # type: ignore[operator]
            "throttled": throttled - self._throttled if hot else None,  # type: ignore[operator]
        }

    def _arm(self) -> None:
        self._due = time.perf_counter() + EVERY_S
        self._loop.call_later(EVERY_S, self._ring)

    def _ring(self) -> None:
        if self._on:
            now = time.perf_counter()
            self.rings[0].append(now - self._wall)
            self.rings[1].append(max(0.0, now - self._due - _TIMER_S))
            self._arm()


def lateness(rings: Rings, start_s: float = 0.0, end_s: float = math.inf) -> dict[str, int]:
    """lag_p99_us, lag_max_us of a part of the run.

    What was late before and behind the requests that count is in none of their times: the moment in which
    hundreds of connections are made above all.
    """
    lags = everybody([lag for at, lag in zip(*rings, strict=True) if start_s <= at and at - lag <= end_s])
    p99 = lags[min(len(lags) - 1, int(len(lags) * 0.99))]
    return {"lag_p99_us": int(p99 * 1e6), "lag_max_us": int(lags[-1] * 1e6)}


def everybody(lags: Sequence[float]) -> list[float]:
    """Ascending: how late the loop was for whoever came at any moment, from how late its timer was.

    A timer that rings 30 ms late is one ring, but all that came meanwhile waited too, the first of it the
    full time and the last of it hardly. So a late ring stands for those that could not ring: each EVERY_S
    one, each that much less late. Without them a second's standstill is one ring among thousands.
    """
    found = [lag - EVERY_S * step for lag in lags for step in range(int(lag / EVERY_S) + 1)]
    return sorted(found) or [0.0]


def _run_delay_s() -> float | None:
    """Seconds that this process was ready to run and had no core. None where the system does not say."""
    try:
        return int(_SCHEDSTAT.read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


def _throttled() -> int | None:
    """How often this machine's cores were slowed down by their heat."""
    try:
        return sum(int(file.read_text("ascii")) for file in Path("/sys").glob(_THROTTLE))
    except (OSError, ValueError):
        return None
