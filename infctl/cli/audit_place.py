"""Where a platform's audit trail lies, brought to where it can be read: its folder, its anchors, its key."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.errors import EngineError, UsageError

if TYPE_CHECKING:
    from infctl.cli.remains import Remains
    from infctl.engine.docker.engine import DockerEngine

KEY_NAME = "AUDIT_HMAC_KEY"
"""Where the profile names no other."""
TRAIL, ANCHORS = "audit", "anchors"
"""The two folders of an exported trail, as in the gateway's volume."""


@dataclass(frozen=True, slots=True)
class Place:
    folder: Path
    anchors: Path
    key: bytes | None
    where: str
    """For people: where it came from."""
    lives: bool = False
    """It is the folder that the gateway writes to, not a copy."""


@contextlib.contextmanager
def place(files: list[Path] | None, folder: Path | None) -> Iterator[Place]:
    """`folder`: one that `infctl audit export` made, in place of the running platform's.

    Raises UsageError, EngineError, ProfileError.
    """
    from infctl.cli.project import open_remains

    if folder is not None:
        if not (folder / TRAIL).is_dir():
            raise UsageError(
                f"{folder} has no folder {TRAIL}", hint="name one that infctl audit export has written"
            )
        with contextlib.suppress(UsageError):  # no profile here: the key can come from the environment alone
            yield Place(folder / TRAIL, folder / ANCHORS, _key(open_remains(files)), str(folder))
            return
        yield Place(folder / TRAIL, folder / ANCHORS, _environment_key(), str(folder))
        return
    remains = open_remains(files)
    if remains.docker is None:
        layout = remains.layout
        yield Place(layout.audit, layout.anchors, _key(remains), str(layout.audit), lives=True)
        return
    with tempfile.TemporaryDirectory(prefix="infctl-audit-") as copied:
        _copy(remains.docker, Path(copied))
        where = "the gateway's volume"
        yield Place(Path(copied) / TRAIL, Path(copied) / ANCHORS, _key(remains), where)


def _key(remains: Remains) -> bytes | None:
    from infctl.cli.project import Project

    name = KEY_NAME
    if isinstance(remains, Project) and (named := remains.profile.gateway.audit.hmac_key) is not None:
        name = named.name
    value = remains.secret(name) or remains.env.get(name) or ""
    return value.encode() or None


def _environment_key() -> bytes | None:
    import os

    return os.environ.get(KEY_NAME, "").encode() or None


def _copy(engine: DockerEngine, into: Path) -> None:
    """The gateway's volume, through the gateway: its machine may be another. Raises EngineError."""
    from infctl.engine.docker import refusals
    from infctl.stack.names import GATEWAY, GATEWAY_STATE

    container = engine.container(GATEWAY)
    with tempfile.TemporaryFile() as held:
        with refusals.told("the audit trail could not be copied"):
            stream, _ = engine.client.api.get_archive(container.id, f"{GATEWAY_STATE}/.")
            for piece in stream:
                held.write(piece)
        held.seek(0, io.SEEK_SET)
        try:
            with tarfile.open(fileobj=held) as archive:
                archive.extractall(into, filter="data")
        except tarfile.TarError as error:
            raise EngineError(f"the audit trail could not be copied: {error}") from None
