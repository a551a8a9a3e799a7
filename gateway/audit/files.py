"""The names of a trail's files, and what lies at the end of one.

w00-000001.jsonl, w00-000002.jsonl ...    one chain, in order; w01-... is another writer's
w00.lock                                  held by who writes that chain
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"(w\d{2})-(\d{6,})\.jsonl")
_STEP: Final = 64 * 1024


@dataclass(frozen=True, slots=True, order=True)
class TrailFile:
    chain: str
    number: int
    path: Path


def name(chain: str, number: int) -> str:
    return f"{chain}-{number:06d}.jsonl"


def files(folder: Path) -> list[TrailFile]:
    """By chain, then in the order they were written. A folder that is not there has none. Raises OSError."""
    if not folder.is_dir():
        return []
    named = ((path, _NAME.fullmatch(path.name)) for path in folder.iterdir())
    return sorted(TrailFile(match[1], int(match[2]), path) for path, match in named if match is not None)


def of_chains(folder: Path) -> dict[str, list[TrailFile]]:
    """Raises OSError."""
    chains: dict[str, list[TrailFile]] = {}
    for file in files(folder):
        chains.setdefault(file.chain, []).append(file)
    return chains


def lines(path: Path) -> Iterator[bytes]:
    """With their newlines; the last may have none. Raises OSError."""
    with path.open("rb") as opened:
        yield from opened


def ending(path: Path) -> tuple[bytes | None, bytes]:
    """The last whole line without its newline, and what stands behind it without one. Raises OSError."""
    with path.open("rb") as opened:
        at = opened.seek(0, 2)
        tail = b""
        while at > 0 and tail.count(b"\n") < 2:
            step = min(_STEP, at)
            at -= step
            opened.seek(at)
            tail = opened.read(step) + tail
    head, newline, torn = tail.rpartition(b"\n")
    if not newline:
        return None, torn
    return head.rpartition(b"\n")[2], torn
