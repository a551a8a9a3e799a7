"""The first process of an engine's container: waits for its turn on the GPU, starts vLLM, stays above it.

    python3 start.py --lock FILE --health URL [--key-file FILE] -- COMMAND...

Engines that share a GPU must not load at the same time, because each measures what memory is free. Neither
`docker compose restart` nor the daemon's own restart keeps to an order, so the order is kept here: the lock
is held from before the command starts until its /health answers. The kernel gives it back when this process
ends, however it ends.

The key goes from its file into vLLM's environment: it is in no command line, and not in what `docker inspect`
shows. Signals are passed on, and orphans reaped, as the first process of a container has to. Standard library
only; Python 3.9 and later.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

ASK_EVERY_S = 0.5
ASK_WITHIN_S = 2.0
HELD_MAX_S = 3600.0
"""An engine that has not loaded by then never will; its neighbours need not wait for ever."""
KEY_BYTES_MAX = 4096
CANNOT_START = 78
NOT_FOUND = 127
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ENDS = (signal.SIGTERM, signal.SIGINT)
HEARD = (*PASSED_ON, signal.SIGCHLD)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="start.py", description="Starts an engine when its GPU is free.")
    parser.add_argument("--lock", required=True, type=Path, help="one file a GPU, shared by its engines")
    parser.add_argument("--health", required=True, help="the URL that answers 200 once the engine has loaded")
    parser.add_argument("--key-file", type=Path, help="becomes VLLM_API_KEY; no such file: no key")
    parser.add_argument("command", nargs="+", help="after --")
    options = parser.parse_args(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)  # each is waited for below, and none is lost
    try:
        environment = with_key(options.key_file)
        lock = turn(options.lock)
    except OSError as error:
        say(f"{error.filename or options.lock} cannot be used: {error.strerror}")
        say("docker compose up -d prepare makes it readable; `user` in the profile says for whom")
        return CANNOT_START
    try:
        # A group of its own: Ctrl-C at a terminal reaches it once, from here.
        engine = os.posix_spawnp(
            options.command[0], options.command, environment, setpgroup=0, setsigmask=(), setsigdef=HEARD
        )
    except OSError as error:
        say(f"{options.command[0]}: {error.strerror}")
        return NOT_FOUND
    return stay(engine, lock, options.health, time.monotonic())


def turn(path: Path) -> int:
    """The lock, as an open file. Waits for as long as a neighbour loads. Raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another engine of {path.name} is loading: this one starts after it")
        for number in ENDS:
            signal.signal(number, leave)  # the first process of a container is ended by no signal without one
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        fcntl.flock(file, fcntl.LOCK_EX)
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    return file


def leave(number: int, _: FrameType | None) -> None:
    say("stopped while it waited for its turn")
    raise SystemExit(128 + number)


def stay(engine: int, lock: int, health: str, began: float) -> int:
    """Until the engine ends. Its exit code, as a shell would say it."""
    held = True
    while True:
        heard = signal.sigtimedwait(HEARD, ASK_EVERY_S) if held else signal.sigwaitinfo(HEARD)
        if heard is None:
            took = time.monotonic() - began
            if answers(health):
                say(f"loaded in {took:.0f} s: the next engine of this GPU may load")
            elif took > HELD_MAX_S:
                say(f"not loaded in {HELD_MAX_S:g} s: the next engine of this GPU need not wait for it")
            else:
                continue
            os.close(lock)
            held = False
        elif heard.si_signo == signal.SIGCHLD:
            code = reaped(engine)
            if code is not None:
                return code
        else:
            os.kill(engine, heard.si_signo)


def reaped(engine: int) -> int | None:
    """Every child that has ended: one SIGCHLD may stand for several. The engine's code, if it has."""
    code = None
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if child == 0:
            return code
        if child == engine:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended


def answers(url: str) -> bool:
    # A proxy named in the environment is for the outside world, not for our own loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ASK_WITHIN_S) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):
        return False


def with_key(path: Path | None) -> dict[str, str]:
    """The environment of the engine. Raises OSError for a file that is there and cannot be read."""
    found = dict(os.environ)
    if path is None:
        return found
    try:
        with path.open("rb") as file:
            key = file.read(KEY_BYTES_MAX).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        key = ""
    if key:
        found["VLLM_API_KEY"] = key
    else:
        say(f"{path} holds no key: this engine answers everybody in its network")
    return found


def say(what: str) -> None:
    sys.stderr.write(f"start.py: {what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
