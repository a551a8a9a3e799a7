"""What containers mount of this machine, made ready before they start: there, and readable.

Only what infctl itself makes, and `.env`: a certificate that the profile names is a person's own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.errors import EngineError

if TYPE_CHECKING:
    from infctl.profile.schema import Profile
    from infctl.stack import Layout


def make_ready(profile: Profile, layout: Layout) -> None:
    """Raises EngineError."""
    from infctl.host import owner_of
    from infctl.stack.names import Names
    from infctl.stack.shared import user

    if profile.runtime != "docker":
        return
    names = Names(profile, layout)
    ids = user(profile, owner_of(layout.base) or (0, 0))
    if any(model.source.hub is not None for model in profile.models.values()):
        _cache(Path(names.hub_cache), ids)
    _let_read(layout.env_file, ids)
    if profile.edge.enabled and profile.edge.tls.makes_certificate:
        share(names.tls_files[0].parent, ids)


def share(folder: Path, ids: tuple[int, int]) -> None:
    """The containers' user can read a folder of infctl's own, and the files in it. Raises EngineError."""
    for path in (folder, *sorted(folder.iterdir())):
        _let_read(path, ids)


def _cache(folder: Path, ids: tuple[int, int]) -> None:
    """Weights come into it: where Docker made it, it would be root's."""
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            if _is_root():
                os.chown(folder, *ids)
    except OSError as error:
        raise EngineError(
            f"{folder} cannot be made: {error.strerror}", hint="engines.cache of the profile names it"
        ) from None


def _let_read(path: Path, ids: tuple[int, int]) -> None:
    """What is private to root gets the containers' group, which may read it. Only root gives files away."""
    try:
        there = path.stat()
        mode, group = there.st_mode & 0o777, 0o050 if path.is_dir() else 0o040
        if not _is_root() or there.st_uid == ids[0] or mode & (group >> 3) == group >> 3:
            return
        if there.st_gid != ids[1] or mode & group != group:
            os.chown(path, -1, ids[1])
            path.chmod(mode | group)
    except FileNotFoundError:
        return
    except OSError as error:
        hint = f"chgrp {ids[1]} {path} && chmod g+r {path}"
        raise EngineError(f"{path} cannot be given to the containers: {error.strerror}", hint=hint) from None


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
