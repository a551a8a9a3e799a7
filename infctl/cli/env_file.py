"""The `.env` beside the profile: read it, and append keys that infctl made. Values are never printed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from infctl.errors import ProfileError

_KEY_BYTES = 32


def read(file: Path) -> dict[str, str]:
    """NAME -> value; empty when there is no such file."""
    from gateway.config import read_env

    try:
        return read_env(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{file} cannot be read: {error}", hint="it holds NAME=value lines") from None


def add_keys(file: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Append a fresh random key for each name the file does not set; answers which were added.

    Written whole and moved into place, 0600: a crash leaves the old file or the new one.
    """
    import secrets

    there = read(file)
    missing = tuple(name for name in dict.fromkeys(names) if not there.get(name))
    if not missing:
        return ()
    old = file.read_text(encoding="utf-8") if file.exists() else "# Keys of this platform. Keep it private.\n"
    if old and not old.endswith("\n"):
        old += "\n"
    new = old + "".join(f"{name}={secrets.token_urlsafe(_KEY_BYTES)}\n" for name in missing)
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        draft.touch(mode=0o600)
        with draft.open("w", encoding="utf-8") as out:
            out.write(new)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):  # a folder that cannot be written
            draft.unlink(missing_ok=True)
        raise ProfileError(
            f"{file} cannot be written: {error.strerror}", hint="set the keys in the environment instead"
        ) from None
    return missing


def readable_by_others(file: Path, *, group: bool = True) -> bool:
    """`group` False: its group is that of the containers, which have to read it."""
    try:
        return bool(file.stat().st_mode & (stat.S_IROTH | (stat.S_IRGRP if group else 0)))
    except OSError:
        return False
