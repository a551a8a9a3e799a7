"""The engine's books: small JSON files that are replaced whole, carry a version, and may be found damaged.

    desired.json   what should run: written by the CLI, read by the supervisor
    observed.json  what runs: written by the supervisor
    secrets.json   values for Service.secret_env: written by the CLI, never shown
    events.jsonl   what happened, one JSON object a line (`events.jsonl.1` is the previous file)

Imports little: the supervisor lives on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

VERSION = 1
EVENTS_MAX_BYTES = 256 * 1024
NEEDED = {
    "desired.json": ("services", "stack", "generation", "down"),
    "observed.json": ("services", "supervisor", "generation", "notes", "boot_id", "epoch", "writer"),
    "secrets.json": ("key", "values"),
}
"""What a book of this format holds; one that lacks any of it is damaged."""
ABSENT = (0, 0)
"""The signature of a file that is not there."""

DESIRED = "desired.json"
OBSERVED = "observed.json"
SECRETS = "secrets.json"
EVENTS = "events.jsonl"
SUPERVISOR_LOCK = "supervisor.lock"
STANDBY_LOCK = "standby.lock"


class NewerBookError(Exception):
    """A later version of infctl wrote this file; reading it as ours would guess."""

    def __init__(self, path: str, version: int, writer: str) -> None:
        super().__init__(f"{path} has format {version}, written by infctl {writer}; this one reads {VERSION}")
        self.path = path
        self.writer = writer


def write(path: str, book: dict[str, Any], *, writer: str) -> None:
    """Replace the file in one step, readable by its owner alone. A crash leaves the old or the new one."""
    temporary = f"{path}.{os.getpid()}.{time.monotonic_ns()}.tmp"
    data = json.dumps({"version": VERSION, "writer": writer, **book}, separators=(",", ":")).encode()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def read(path: str) -> tuple[dict[str, Any] | None, str]:
    """The book, and a note if it was there but useless (it is then moved aside to `<name>.corrupt`).

    Raises `NewerBookError`.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return None, ""
    name = os.path.basename(path)
    try:
        book = json.loads(raw)
        version = int(book["version"])
        if version > VERSION:
            raise NewerBookError(path, version, str(book.get("writer", "?")))
        damaged = any(key not in book for key in NEEDED.get(name, ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        damaged = True
    if not damaged:
        return book, ""
    with contextlib.suppress(FileNotFoundError):  # another one who read it was faster
        os.replace(path, f"{path}.corrupt")
    return None, f"{name} was damaged and was moved to {name}.corrupt"


def append_event(folder: str, event: dict[str, Any]) -> None:
    path = os.path.join(folder, EVENTS)
    line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, line)
        full = os.fstat(fd).st_size >= EVENTS_MAX_BYTES
    finally:
        os.close(fd)
    if full:
        os.replace(path, f"{path}.1")


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def signature(path: str) -> tuple[int, int]:
    """Changes whenever the file is replaced; ABSENT if there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return ABSENT
    return (stat.st_ino, stat.st_mtime_ns)
