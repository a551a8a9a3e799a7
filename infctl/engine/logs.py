"""Reading what services wrote: the last lines, and what comes, across rotation (see `rotate`)."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from infctl.engine.model import Event

TAIL_BLOCK_BYTES = 64 * 1024
PARTS_MAX = 100
LINE_MAX_BYTES = 64 * 1024
"""A longer line is handed on in pieces."""


@dataclass(frozen=True, slots=True)
class LogLine:
    service: str
    text: str
    at: float | None = None
    """Seconds since the epoch, where whoever kept the line noted it."""


def tail(path: Path, lines: int) -> list[str]:
    """The last `lines` lines; goes back into `<path>.1` where the file itself is shorter."""
    if lines <= 0:
        return []
    data = b""
    for part in (path, path.with_name(f"{path.name}.1")):
        data = _end_of(part, lines + 1 - data.count(b"\n")) + data
        if data.count(b"\n") > lines:
            break
    found = data.split(b"\n")
    if found[-1] == b"":
        found.pop()
    return [line.decode("utf-8", "replace").rstrip("\r") for line in found[-lines:]]


def _end_of(path: Path, newlines: int) -> bytes:
    """At least that many newlines' worth of the file's end, or all of it."""
    data = b""
    try:
        with path.open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            while position > 0 and data.count(b"\n") < newlines:
                step = min(TAIL_BLOCK_BYTES, position)
                position -= step
                file.seek(position)
                data = file.read(step) + data
    except FileNotFoundError:
        return b""
    return data


@dataclass(slots=True)
class Follower:
    """New whole lines of a file, across rotation by renaming (events) or by cutting off its front (logs)."""

    path: Path
    offset: int = 0
    """How much of the present file has been handed on."""
    _inode: int = field(default=0, repr=False)
    _rotated: int = field(default=0, repr=False)
    """The inode of `<path>.1`: another one there means that the file was rotated."""
    _rest: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        self._rotated = _inode(self._part(1))

    @classmethod
    def at_end(cls, path: Path) -> Follower:
        try:
            return cls(path, path.stat().st_size)
        except FileNotFoundError:
            return cls(path)

    def new_lines(self) -> list[str]:
        """Everything since the last call; a line still without its end is kept for later."""
        try:
            with self.path.open("rb") as file:
                # The one that rotates takes this lock too: what is seen here is never half done.
                fcntl.flock(file, fcntl.LOCK_SH)
                data = self._fresh(file)
        except FileNotFoundError:
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def _fresh(self, file: BinaryIO) -> bytes:
        stat = os.fstat(file.fileno())
        parts = self._parts_since()
        if any(_inode(part) == stat.st_ino for part in parts):
            return b""  # renamed just now: its successor is read next time
        data = b""
        for part in reversed(parts):
            data += _read_from(part, self.offset)
            self.offset = max(0, self.offset - part.stat().st_size)
        if not parts and self._inode not in (0, stat.st_ino):
            self.offset = 0  # replaced by another file
        self._inode = stat.st_ino
        self._rotated = _inode(self._part(1))
        file.seek(min(self.offset, stat.st_size))
        data += file.read()
        self.offset = file.tell()
        return data

    def _parts_since(self) -> list[Path]:
        """What was rotated away since the last call, newest first."""
        parts: list[Path] = []
        for number in range(1, PARTS_MAX):
            inode = _inode(self._part(number))
            if inode in (0, self._rotated):
                break
            parts.append(self._part(number))
        return parts

    def _part(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _read_from(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def service_logs(folder: Path, services: Sequence[str]) -> list[str]:
    """The names that have a log, of `services` or, if that is empty, all."""
    found = sorted(p.name.removesuffix(".log") for p in folder.glob("*.log"))
    return [name for name in found if not services or name in services]


def last_lines(folder: Path, services: Sequence[str], lines: int) -> Iterator[LogLine]:
    for name in service_logs(folder, services):
        for text in tail(folder / f"{name}.log", lines):
            yield LogLine(name, text)


def events_of(follower: Follower, generation: int) -> Iterator[Event]:
    """What the supervisor wrote about this wish since the last look; damaged lines are passed over."""
    for line in follower.new_lines():
        try:
            item = json.loads(line)
            told = Event(item["service"], item["kind"], item["text"], item["elapsed_s"])
        except (ValueError, KeyError, TypeError):
            continue
        if item.get("generation") == generation:
            yield told
