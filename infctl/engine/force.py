"""Ends a platform's processes from outside: what the supervisor left, or all where it cannot be told."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from infctl.engine import procfs, snapshot
from infctl.engine.model import Observed

POLL_S = 0.05
GONE_WITHIN_S = 60.0


def kill(found: Callable[[], set[int]]) -> list[int]:
    """Kill what `found` names until it names nothing; the pids that a signal reached."""
    killed = []
    for pid in found():
        process = procfs.look(pid)
        if process is not None and procfs.send(process, signal.SIGKILL):
            killed.append(pid)
    deadline = time.monotonic() + GONE_WITHIN_S
    while found() and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return killed


def stop(home: str, observed: Observed) -> None:
    """Kill the supervisors, ask all services to end, wait as long as the most patient may take."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while procfs.SUPERVISOR in procfs.marked(home).values() and time.monotonic() < deadline:
        snapshot.kill_supervisors(home)
        time.sleep(POLL_S)
    patience = 0.0
    leaders = []
    for service in observed.services:
        leader = procfs.identify(service.pid) if service.pid is not None else None
        if leader is not None and service.running is not None:
            leaders.append(leader)
            procfs.send_group(leader, signal.Signals[f"SIG{service.running.stop_signal}"])
            patience = max(patience, service.running.stop_timeout_s)
    deadline = time.monotonic() + patience
    while any(procfs.is_running(leader) for leader in leaders) and time.monotonic() < deadline:
        time.sleep(POLL_S)
