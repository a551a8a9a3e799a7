"""`infctl validate` and `infctl schema`. JSON: shapes.VALIDATE; the schema is JSON anyway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.errors import UsageError


def validate(*, files: Files = None, json_output: Json = False) -> None:
    """Check a profile and its overlays; every mistake is told with its line and column.

    Also warns of settings that this version does not enforce, and of secrets that are not set.

    \b
    Examples:
      infctl validate
      infctl validate -f base.yaml -f production.yaml --json
    """
    from infctl.cli.project import open_project
    from infctl.cli.text import plural

    project = open_project(files)
    warnings = project.warnings()
    missing = [problem.message for problem in project.missing_secrets()]
    profile = project.profile
    if json_output:
        console.data(
            {
                "ok": True,
                "name": profile.name,
                "runtime": profile.runtime,
                "files": [str(file) for file in project.files],
                "models": project.models_data(),
                "warnings": list(warnings),
                "missing_secrets": missing,
            }
        )
        return
    for text in warnings:
        console.warn(text)
    for text in missing:
        console.warn(text)
    told = ", ".join(f"{m['name']} ({' + '.join(m['tasks'])})" for m in project.models_data())
    console.fact(
        f"ok: {profile.name}, runtime {profile.runtime}, {plural(len(profile.models), 'model')}: {told}"
    )


def schema(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there instead of stdout")
    ] = None,
) -> None:
    """Print the JSON Schema of profiles, with which editors complete and check.

    \b
    Example:
      infctl schema -o infctl.schema.json
    """
    import json

    from infctl.profile.json_schema import schema as profile_schema

    text = json.dumps(profile_schema(), indent=2, ensure_ascii=False)
    if output is None:
        console.raw(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    console.say(f"wrote {output}")
