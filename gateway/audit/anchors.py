"""Where each chain stands, kept apart from the chain: whoever cuts its tail has to change both.

One protocol; here as small files that are replaced whole. A store of several machines can keep them as well.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from gateway.audit.chain import Head

_SUFFIX: Final = ".anchor.json"


@dataclass(frozen=True, slots=True)
class Anchor:
    """Written after each fsync of the chain."""

    head: Head
    file: int
    """The number of the file that the head is in."""
    base: Head = Head()  # noqa: RUF009 - frozen
    """Where what is kept begins: older files were removed when their time was over."""
    base_file: int = 1
    at: float = 0.0
    """Seconds since 1970."""


class Anchors(Protocol):
    def load(self, chain: str) -> Anchor | None:
        """None: nothing is known of it. Raises OSError."""

    def save(self, chain: str, anchor: Anchor) -> None:
        """It is on the disk when this returns. Raises OSError."""


class FileAnchors:
    """A file a chain, outside the trail's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, chain: str) -> Anchor | None:
        """One that cannot be read is no better than none: the chain is told to have none."""
        try:
            return msgspec.json.decode((self._folder / f"{chain}{_SUFFIX}").read_bytes(), type=Anchor)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def save(self, chain: str, anchor: Anchor) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._folder / f"{chain}{_SUFFIX}"
        part = target.with_suffix(".part")
        opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(opened, msgspec.json.encode(anchor) + b"\n")
            os.fsync(opened)
        finally:
            os.close(opened)
        part.replace(target)
        sync_folder(self._folder)

    def chains(self) -> list[str]:
        """All that have one. Raises OSError."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}"))


def sync_folder(folder: Path) -> None:
    """The names in it are on the disk. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
