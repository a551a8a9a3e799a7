"""Can infctl write where it keeps its books, and beside the profile where rendered files go?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok

LOOKED_AT_MAX = 2000
"""Entries of the platform's folder."""


def look(case: Case) -> Iterator[Finding]:
    if case.layout is None:
        return
    folders = [case.layout.home]
    if case.layout.beside:
        folders.append(case.layout.base)
    yield judge(folders, _refused(folders), _owner_hint(case.layout.home))


def judge(folders: Sequence[Path], refused: Sequence[Path], owner: str) -> Finding:
    """`refused`: what this user may not write, the nearest existing ones."""
    if not refused:
        return ok(f"{', '.join(str(folder) for folder in folders)} can be written")
    first = refused[0]
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    return failure(
        f"{first}{more} cannot be written",
        why=f"{owner}; infctl keeps its lock, its books and the rendered files there",
        fix=f"sudo chown -R $USER {first}, or run infctl as the user it belongs to",
    )


def _refused(folders: Sequence[Path]) -> list[Path]:
    found = []
    for folder in folders:
        nearest = folder
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not os.access(nearest, os.W_OK | os.X_OK):
            found.append(nearest)
    home = folders[0]
    if home.exists() and home not in found:
        found += [path for path in _entries(home) if not os.access(path, os.W_OK)]
    return found


def _entries(home: Path) -> Iterator[Path]:
    """Folders and files that infctl writes again; sockets and pipes are the services'."""
    for number, path in enumerate(sorted(home.rglob("*"))):
        if number >= LOOKED_AT_MAX:
            return
        if not path.is_symlink() and (path.is_dir() or path.is_file()):
            yield path


def _owner_hint(home: Path) -> str:
    try:
        owner = home.owner() if home.exists() else ""
    except (KeyError, NotImplementedError, OSError):
        owner = ""
    return f"it belongs to {owner}" if owner else "the folder above it belongs to another user"
