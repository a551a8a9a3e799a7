"""Starts, watches and restarts one platform's processes: `python -m infctl.engine.supervisor HOME`.

Two of these run for each home. The one that holds `state/supervisor.lock` supervises; the other waits for
that lock. When the first dies, however it dies, the kernel frees the lock, and the second takes over: it
finds the services by their identities and goes on watching them, unrestarted, and starts a new one to wait.
So there is no protocol between the two, and never more than one that acts. Services write to their own log
files, so no supervisor's death can hurt them.

It is driven by `state/desired.json` (SIGHUP asks it to look now) and publishes `state/observed.json`.
Decisions are in `lifecycle`; here are the hands. Imports little: it stays under 15 MB.
"""

from __future__ import annotations

import fcntl
import os
import sys

POLL_S = 1.0
"""How often files are looked at when nothing wakes us."""
FAULT_PAUSE_S = 1.0


def main() -> None:
    home = os.path.realpath(sys.argv[1])
    if os.fork():
        os._exit(0)
    os.setsid()
    state = os.path.join(home, "state")
    os.chdir(home)
    standby = take_lock(os.path.join(state, "standby.lock"), wait=False)
    if standby is None:
        return
    active = take_lock(os.path.join(state, "supervisor.lock"), wait=True)
    if active is None:
        return
    os.close(standby)
    # Imported late: whoever waits should cost as little as possible.
    import time  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    from infctl.engine import books, hands  # noqa: PLC0415

    try:
        hands.Supervisor(home, active).run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the one that waits takes over
        told = str(error) if isinstance(error, books.NewerBookError) else traceback.format_exc().rstrip()
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} supervisor\n{told}\n")
        sys.stderr.flush()
        time.sleep(FAULT_PAUSE_S)
        os._exit(70)


def take_lock(path: str, *, wait: bool) -> int | None:
    """A descriptor that holds the lock for as long as it is open; None if it is taken or its file is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(fd)
        return None
    if not is_same_file(fd, path):
        os.close(fd)
        return None
    return fd


def is_same_file(fd: int, path: str) -> bool:
    """False once the file was removed or replaced: a lock on it then guards nothing."""
    try:
        return os.fstat(fd).st_ino == os.stat(path).st_ino
    except OSError:
        return False


def spawn(home: str, python: str) -> None:
    """Start one more supervisor for `home`, detached: it waits its turn, or leaves if one waits already."""
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ") if name in os.environ
    }
    environment |= {
        "PYTHONPATH": package_root,
        "PYTHONDONTWRITEBYTECODE": "1",
        "INFCTL_STACK": home,
        "INFCTL_SERVICE": "@supervisor",
    }
    log = os.path.join(home, "logs", "supervisor.log")
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        python,
        # Nothing but the standard library and this package: no site, no user's packages.
        [python, "-S", "-s", "-m", "infctl.engine.supervisor", home],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
