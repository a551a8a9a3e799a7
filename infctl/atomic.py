"""Files that are written whole or not at all. The lowest layer: everything may use it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from infctl.errors import EngineError


def replace(target: Path, data: bytes, *, mode: int) -> None:
    """Write a whole file or nothing. Never follows a link at `target`; the folder must exist.

    Raises EngineError.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise cannot("written", target, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise cannot("written", target, error) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def make_folder(target: Path, root: Path) -> None:
    """`target`, and what is missing above it. Raises EngineError.

    Folders below `root` are 0755, whatever the umask: a container's user has to enter them. What keeps others
    out is `root` itself, which is 0700 where it is made here.
    """
    missing = [path for path in (target, *target.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            if path != root and path.is_relative_to(root):
                path.chmod(0o755)
    except OSError as error:
        raise cannot("written", target, error) from None


def cannot(verb: str, path: Path, error: OSError) -> EngineError:
    """`verb`: read, written."""
    return EngineError(
        f"{path} cannot be {verb}: {error.strerror or error}",
        hint="check the owner and the free space of that folder",
    )


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open a folder, and needs none of this
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
