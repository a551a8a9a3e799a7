"""What the gateway's image is built from: Dockerfile, lock file, and the sources of the installed gateway.

An edge: it reads the files of our own package, once. They are rendered beside the rest, so that the image is
built without infctl, from sources a person can read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from infctl.errors import InternalError
from infctl.render.files import RenderedFile
from infctl.stack.front import IMAGE_FOLDER

_OWN = "image"
"""In the package: what lies in the context beside the package itself."""
_NOTE = "built into the gateway's image"


@cache
def files() -> tuple[RenderedFile, ...]:
    """In the order of their paths."""
    package = _package()
    found = sorted((*_context(package), *_sources(package)), key=lambda file: file.path)
    return tuple(found)


def _package() -> Path:
    spec = importlib.util.find_spec("gateway")
    if spec is None or spec.origin is None:
        raise InternalError("the gateway's package is missing", hint="install infctl again")
    return Path(spec.origin).parent


def _context(package: Path) -> Iterator[RenderedFile]:
    yield _file(package / "Dockerfile", "Dockerfile")
    for path in _all(package / _OWN):
        yield _file(path, path.relative_to(package / _OWN).as_posix())


def _sources(package: Path) -> Iterator[RenderedFile]:
    for path in _all(package):
        below = path.relative_to(package)
        if below.parts[0] != _OWN and path.suffix in {".py", ".typed"}:
            yield _file(path, f"gateway/{below.as_posix()}")


def _all(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _file(path: Path, name: str) -> RenderedFile:
    try:
        return RenderedFile(f"{IMAGE_FOLDER}/{name}", path.read_text(encoding="utf-8"), note=_NOTE)
    except OSError as error:
        raise InternalError(f"{path} cannot be read: {error.strerror}", hint="install infctl again") from None
