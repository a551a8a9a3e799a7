"""What `infctl down --purge` removes beside containers and volumes: weights, rendered files, logs, history.

Only what infctl made: a rendered file that was edited since, a cache outside the profile's folder, the
profile and `.env` stay.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infctl.cli.remains import Remains


def doomed(remains: Remains) -> tuple[Path, ...]:
    """As far as it is there, the platform's own folder last: it knows which files are infctl's."""
    found = dict.fromkeys((*_weights(remains), *_rendered(remains), remains.layout.home))
    return tuple(path for path in found if path.exists() or path.is_symlink())


def remove(paths: Iterable[Path], base: Path) -> list[Path]:
    """What is gone then. Folders below `base` that are empty afterwards go as well."""
    gone = []
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        if path.exists():
            continue
        gone.append(path)
        for parent in path.parents:
            if not parent.is_relative_to(base) or parent == base:
                break
            with contextlib.suppress(OSError):  # not empty
                parent.rmdir()
    return gone


def volumes(remains: Remains) -> tuple[str, ...]:
    """Names of the volumes that go with `--volumes`."""
    stack = remains.applied()
    projects = stack.projects if stack is not None else ()
    return tuple(volume.name for one in projects for volume in one.volumes if not volume.external)


def _weights(remains: Remains) -> Iterator[Path]:
    """Unpacked for this platform, or fetched into a folder of its own."""
    from infctl.cli.project import Project
    from infctl.stack.names import Names

    running = remains.applied()
    yield from (Path(step.creates) for step in (running.prepare if running is not None else ()))
    if remains.docker is not None and isinstance(remains, Project):
        names = Names(remains.profile, remains.layout)
        cache = Path(names.hub_cache)
        if cache.is_relative_to(remains.layout.base) and cache != remains.layout.base:
            yield cache
        if remains.profile.edge.enabled and remains.profile.edge.tls.makes_certificate:
            yield from names.tls_files


def _rendered(remains: Remains) -> Iterator[Path]:
    """Those beside the profile; what lies in the platform's own folder goes with it."""
    from infctl.files import unedited

    if remains.layout.rendered == remains.layout.base:
        yield from unedited(remains.layout.rendered, remains.book)
