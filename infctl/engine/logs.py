"""Reading what services wrote: the last lines, and what comes, across rotation (see `rotate`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TAIL_BLOCK_BYTES = 64 * 1024
LINE_MAX_BYTES = 64 * 1024
"""A longer line is handed on in pieces."""


@dataclass(frozen=True, slots=True)
class LogLine:
    service: str
    text: str


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
    """New whole lines of a file that may be rotated by renaming or by cutting off its front."""

    path: Path
    offset: int = 0
    """How much of the present file has been handed on."""
    inode: int = 0
    _rest: bytes = field(default=b"", repr=False)

    @classmethod
    def at_end(cls, path: Path) -> Follower:
        try:
            stat = path.stat()
        except FileNotFoundError:
            return cls(path)
        return cls(path, stat.st_size, stat.st_ino)

    def new_lines(self) -> list[str]:
        """Everything since the last call; a line still without its end is kept for later."""
        data = b""
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if self.inode and stat.st_ino != self.inode:
                    data += self._old_one_from(self.offset)
                    self.offset = 0
                elif stat.st_size < self.offset:
                    data += self._cut_off(stat.st_size)
                self.inode = stat.st_ino
                file.seek(self.offset)
                fresh = file.read()
                self.offset += len(fresh)
        except FileNotFoundError:
            return []
        *lines, self._rest = (self._rest + data + fresh).split(b"\n")
        if len(self._rest) > LINE_MAX_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def _old_one_from(self, offset: int) -> bytes:
        try:
            with self.path.with_name(f"{self.path.name}.1").open("rb") as file:
                if os.fstat(file.fileno()).st_ino != self.inode:
                    return b""
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return b""

    def _cut_off(self, size: int) -> bytes:
        """The front went to `.1`, whose length says how far everything moved."""
        try:
            with self.path.with_name(f"{self.path.name}.1").open("rb") as file:
                moved = os.fstat(file.fileno()).st_size
                if self.offset >= moved:
                    self.offset -= moved
                    return b""
                file.seek(self.offset)
                self.offset = 0
                return file.read()
        except FileNotFoundError:
            self.offset = min(self.offset, size)
            return b""


def service_logs(folder: Path, services: Sequence[str]) -> list[str]:
    """The names that have a log, of `services` or, if that is empty, all."""
    found = sorted(p.name.removesuffix(".log") for p in folder.glob("*.log"))
    return [name for name in found if not services or name in services]


def last_lines(folder: Path, services: Sequence[str], lines: int) -> Iterator[LogLine]:
    for name in service_logs(folder, services):
        for text in tail(folder / f"{name}.log", lines):
            yield LogLine(name, text)
