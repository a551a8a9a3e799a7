"""How a service's process comes into being, is known again, and is reaped.

Imports little: the supervisor lives on it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from infctl.engine import books, procfs

SPEC_VARIABLE = "INFCTL_SPEC"
SPAWNED_VARIABLE = "INFCTL_SPAWNED"
"""Seconds since boot when the service was started: tells its first process from those that one forked."""
SPAWN_TAKES_MAX_S = 0.1


def spawn(home: str, spec: Mapping[str, Any], base_environment: Mapping[str, str]) -> int:
    """Start one service, leader of its own session; its process id. Raises OSError, KeyError (a secret)."""
    argv = spec["argv"]
    environment = dict(base_environment)
    environment.update(dict(spec["env"]))
    if spec.get("gpu") is not None:
        environment.setdefault("CUDA_VISIBLE_DEVICES", spec["gpu"])
    if spec["secret_env"]:
        book, _ = books.read(os.path.join(home, "state", books.SECRETS))
        values = book["values"] if book is not None else {}
        environment.update({variable: values[secret] for variable, secret in spec["secret_env"]})
    environment[procfs.STACK_VARIABLE] = home
    environment[procfs.SERVICE_VARIABLE] = spec["name"]
    environment[SPEC_VARIABLE] = spec["spec_hash"]
    environment[SPAWNED_VARIABLE] = f"{time.clock_gettime(time.CLOCK_BOOTTIME):.3f}"
    # Programs that set a process title through Python's setproctitle then leave the marks above readable.
    environment["SPT_NOENV"] = "1"
    log = os.path.join(home, "logs", f"{spec['name']}.log")
    return os.posix_spawnp(
        argv[0],
        argv,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGXFSZ),
    )


def is_leader(pid: int) -> bool:
    """Whether a supervisor started this marked process itself. In doubt it did not: then it is replaced."""
    process = procfs.look(pid)
    spawned = procfs.environment(pid).get(SPAWNED_VARIABLE, "")
    if process is None or process.session != pid or not spawned:
        return False
    started = procfs.since_boot_s(process.start_ticks)
    return abs(started - float(spawned)) < SPAWN_TAKES_MAX_S


def how_it_ended(pid: int) -> str:
    """Reaps our own child; of an adopted one Linux does not tell."""
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "ended"
    if reaped == 0:
        return "ended"
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
