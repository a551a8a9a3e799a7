"""`infctl render`: the files that would run, for reading or for leaving infctl. JSON: shapes.RENDER."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.errors import UsageError

if TYPE_CHECKING:
    from infctl.cli.project import Project


def render(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to")],
    files: Files = None,
    json_output: Json = False,
) -> None:
    """Write what the platform would run: the Compose files or the supervisor's, nginx.conf, gateway.yaml.

    Nothing is started, and nothing that runs is touched. Keys are never in these files. Of containers the
    folder is a platform of its own: cp .env.example .env, then docker compose up -d.

    \b
    Example:
      infctl render -f local.yaml -o /tmp/out
    """
    import hashlib

    from infctl.atomic import make_folder, replace
    from infctl.cli.project import open_project

    project = open_project(files)
    built = project.build()
    for warning in built.warnings:
        console.warn(warning)
    written = [(output / file.path, file.text.encode()) for file in built.files]
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{output} cannot be made: {error.strerror}") from None
    for file, (path, text) in zip(built.files, written, strict=True):
        make_folder(path.parent, output)
        replace(path, text, mode=file.mode)
    _certificate(project, output)
    if json_output:
        listed = [
            {"path": str(path), "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
            for path, text in written
        ]
        console.data({"directory": str(output), "files": listed})
        return
    for path, text in written:
        console.fact(f"{path}  {len(text):,} bytes")


def _certificate(project: Project, output: Path) -> None:
    """Of containers, where none is named: nginx would not start without one, with or without infctl."""
    from datetime import UTC, datetime

    from infctl import tls
    from infctl.cli import mounts
    from infctl.host import owner_of
    from infctl.stack.names import Names
    from infctl.stack.shared import user

    edge = project.profile.edge
    if project.runtime != "docker" or not edge.enabled or not edge.tls.makes_certificate:
        return
    below = Names(project.profile, project.layout).tls_files[0].parent.relative_to(project.layout.rendered)
    made = tls.self_signed(output / below, tls.names_of(edge.server_name), now=datetime.now(UTC))
    mounts.share(output / below, user(project.profile, owner_of(project.layout.base) or (0, 0)))
    if made.note:
        console.say(made.note)
