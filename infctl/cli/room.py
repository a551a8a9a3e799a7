"""Is there room on the disk for what a change writes? Asked before: half-written books help nobody."""

from __future__ import annotations

import shutil
from pathlib import Path

from infctl.errors import EngineError

NEEDED_BYTES = 16 * 2**20
"""For books, rendered files, history and the first log lines; weights and images are asked for elsewhere."""


def check(folder: Path, needed: int = NEEDED_BYTES) -> None:
    """`folder` need not be there yet. Raises EngineError."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is None:
        return
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        return
    if free < needed:
        raise EngineError(
            f"the disk of {there} is full: {free / 2**20:.1f} MiB are free, {needed / 2**20:.0f} are needed",
            hint="make room on it, then the same command again: nothing was changed",
        )
