"""`infctl render`: the files that would run, for reading or for leaving infctl. JSON: shapes.RENDER."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.errors import UsageError


def render(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to")],
    files: Files = None,
    json_output: Json = False,
) -> None:
    """Write what the platform would run: nginx.conf, gateway.yaml and the supervisor's file.

    Nothing is started, and nothing that runs is touched. Keys are never in these files.

    \b
    Example:
      infctl render -f local.yaml -o /tmp/out
    """
    import hashlib

    from infctl.atomic import replace
    from infctl.cli.project import open_project

    built = open_project(files).build()
    for warning in built.warnings:
        console.warn(warning)
    written = [(output / file.path, file.text.encode()) for file in built.files]
    for file, (path, text) in zip(built.files, written, strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path.parent} cannot be made: {error.strerror}") from None
        replace(path, text, mode=file.mode)
    if json_output:
        listed = [
            {"path": str(path), "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
            for path, text in written
        ]
        console.data({"directory": str(output), "files": listed})
        return
    for path, text in written:
        console.fact(f"{path}  {len(text):,} bytes")
