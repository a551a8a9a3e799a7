"""One person changes a platform at a time. The lock is the kernel's, so a killed holder's is free at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infctl.engine.refusals import unwritable
from infctl.errors import LockError

LOCK = "lock"


@contextlib.contextmanager
def hold(path: Path, owner: str) -> Iterator[None]:
    """Hold `path` for as long as the block runs, and remove it after.

    Raises EngineError where it cannot be written; LockError with the holder's owner, host,
    pid and since when.
    """
    fd = _take(path)
    try:
        about = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        with contextlib.suppress(OSError):  # a full disk: the lock holds without its holder's name
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(about).encode(), 0)
        yield
    finally:
        # Removed while still held: whoever opened it meanwhile finds that it is no longer at the path.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether somebody holds it. Asked, not taken: a shared lock for an instant."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def holder(path: Path) -> dict[str, Any] | None:
    """What whoever holds it wrote of itself: owner, host, pid, since. None: nobody holds it."""
    if not is_held(path):
        return None
    try:
        data = json.loads(path.read_bytes()[:4096])
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _take(path: Path) -> int:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(path, error) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            about = os.pread(fd, 4096, 0)
            os.close(fd)
            raise _held(path, about) from None
        try:
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)


def _held(path: Path, about: bytes) -> LockError:
    try:
        data = json.loads(about)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(data["since"]))
        who = f"{data['owner']} on {data['host']} (pid {data['pid']}) since {since}"
    except (ValueError, KeyError, TypeError):
        who = "another infctl, which has not written its name yet"
    return LockError(
        f"this platform is being changed by {who}",
        hint=f"wait for it or end that process: the lock {path} goes with it",
    )
