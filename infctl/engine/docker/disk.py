"""Files as they lie here: digests, times, `.env`. The edge of `loaded`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from gateway.config import read_env
from infctl.engine.docker.loaded import OnDisk

FILE_BYTES_MAX = 4 * 2**20
NOTHING: Mapping[str, str] = MappingProxyType({})
FILES_MAX = 1024
"""Of one folder; more are not looked at."""


def look(paths: Iterable[str]) -> dict[str, OnDisk]:
    """One that is not there, or cannot be read, counts as gone."""
    return {path: _look(path) for path in dict.fromkeys(paths)}


def _look(path: str) -> OnDisk:
    try:
        with open(path, "rb") as file:
            stat = os.fstat(file.fileno())
            digest = hashlib.sha256(file.read(FILE_BYTES_MAX)).hexdigest()
    except OSError:
        return OnDisk()
    return OnDisk(digest, stat.st_mtime, stat.st_ino)


def below(folder: str) -> Iterator[str]:
    """Its files, in order; links are not followed."""
    left = FILES_MAX
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not left:
                return
            left -= 1
            yield os.path.join(base, name)


def digest(folder: str, coming: Mapping[str, str] = NOTHING) -> str:
    """Of all files below, their paths and contents. `coming`: path -> SHA-256 of those that are to come."""
    found = {path: one.sha256 for path, one in look(below(folder)).items()}
    found |= {path: sha for path, sha in coming.items() if path.startswith(f"{folder.rstrip('/')}/")}
    lines = (f"{os.path.relpath(path, folder)} {found[path]}\n" for path in sorted(found))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def variables(env_file: str) -> dict[str, str]:
    """Of `.env`; one that is not there, or is no text, has none."""
    try:
        with open(env_file, encoding="utf-8") as file:
            return dict(read_env(file.read(FILE_BYTES_MAX)))
    except (OSError, ValueError):
        return {}
