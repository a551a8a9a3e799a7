"""Keeps log files small while their writers hold them open and never reopen them.

Services append to their own file (no pipe, so that no reader's death can hurt them), therefore a file cannot
be renamed away. What it holds is copied to `<name>.1`; then the file's front is cut off with
fallocate(COLLAPSE_RANGE), which moves the end of the file for appenders too: nothing is lost, whatever is
written meanwhile. File systems without it (tmpfs, btrfs) get copy-and-truncate, which can lose a line written
within the microseconds between the two.

Cuts fall on file system blocks, so a line may begin in `.1` and end in the file itself; read in order (`.4`
... `.1`, the file) the bytes are exactly what was written.
"""

from __future__ import annotations

import ctypes
import fcntl
import os

LOG_MAX_BYTES = 10 * 1024 * 1024
LOG_COPIES_MAX = 4
"""Both where the profile's `logs` is not known: its defaults."""
_CHUNK_BYTES = 1 << 20
_COLLAPSE_RANGE = 0x08


def rotate(path: str, *, max_bytes: int = LOG_MAX_BYTES, copies: int = LOG_COPIES_MAX) -> bool:
    """Rotate if the file has reached `max_bytes`; True if it did. With no copies its front is thrown away.

    Copies beyond `copies`, of a time when more were kept, are removed.
    """
    _prune(path, copies)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return False  # somebody reads it just now: next time
    try:
        stat = os.fstat(fd)
        if stat.st_size < max_bytes:
            return False
        block = max(4096, os.fstatvfs(fd).f_bsize)
        front = stat.st_size // block * block
        # Collapsing may not reach the end of the file.
        front = front - block if front == stat.st_size else front
        if front <= 0:
            return False
        if copies and not _keep_front(fd, path, front, copies):
            return False
        if not _collapse(fd, front):
            if copies:
                _append_rest(fd, f"{path}.1", front)
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
    return True


def _keep_front(fd: int, path: str, front: int, copies: int) -> bool:
    """Make it `<path>.1`, and the earlier ones a number older."""
    copied = f"{path}.1.tmp"
    if not _copy(fd, copied, front):
        return False
    for number in range(copies - 1, 0, -1):
        _move(f"{path}.{number}", f"{path}.{number + 1}")
    # Named before the front is cut: a kill between the two leaves a passage twice rather than not at all.
    os.replace(copied, f"{path}.1")
    return True


def _prune(path: str, copies: int) -> None:
    number = copies + 1
    while os.path.exists(f"{path}.{number}"):
        os.unlink(f"{path}.{number}")
        number += 1


def _copy(fd: int, target: str, length: int) -> bool:
    """The first `length` bytes; False if there are fewer (somebody else cut the file)."""
    offset = 0
    with open(target, "wb", opener=_private) as out:
        while offset < length:
            data = os.pread(fd, min(_CHUNK_BYTES, length - offset), offset)
            if not data:
                return False
            out.write(data)
            offset += len(data)
    return True


def _append_rest(fd: int, target: str, offset: int) -> None:
    with open(target, "ab", buffering=0) as out:
        while data := os.pread(fd, _CHUNK_BYTES, offset):
            out.write(data)
            offset += len(data)


def _collapse(fd: int, length: int) -> bool:
    libc = ctypes.CDLL(None)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return bool(libc.fallocate(fd, _COLLAPSE_RANGE, 0, length) == 0)


def _move(source: str, target: str) -> None:
    try:
        os.replace(source, target)
    except FileNotFoundError:
        return


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
