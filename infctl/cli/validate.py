"""`infctl validate` and `infctl schema`. JSON: shapes.VALIDATE; the schema is JSON anyway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.errors import ProfileError, UsageError

if TYPE_CHECKING:
    from infctl.cli.project import Project


def validate(*, files: Files = None, json_output: Json = False) -> None:
    """Check a profile and its overlays; every mistake is told with its line and column.

    Also warns of settings that this version does not enforce, of secrets that are not set, and of a
    certificate that up would refuse.

    \b
    Examples:
      infctl validate
      infctl validate -f base.yaml -f production.yaml --json
    """
    from infctl.cli.project import open_project
    from infctl.cli.text import plural

    project = open_project(files)
    _refuse_absent_cards(project)
    warnings = (*project.warnings(), *_certificate(project))
    lacking = project.missing_secrets()
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
                "missing_secrets": [problem.message for problem in lacking],
            }
        )
        return
    for text in warnings:
        console.warn(text)
    for problem in lacking:
        console.warn(f"{problem} ({problem.hint})")
    told = ", ".join(f"{m['name']} ({' + '.join(m['tasks'])})" for m in project.models_data())
    console.fact(
        f"ok: {profile.name}, runtime {profile.runtime}, {plural(len(profile.models), 'model')}: {told}"
    )


def _refuse_absent_cards(project: Project) -> None:
    """Where the profile lists its cards, they are known without looking at a machine. Raises PlanError."""
    profile = project.profile
    if profile.gpus.kind == "listed" and any(model.gpu.pinned for model in profile.models.values()):
        from infctl.gpus import for_profile
        from infctl.plan.placement import refuse_absent_cards

        where = project.loaded.where
        refuse_absent_cards(profile, for_profile(profile.gpus, where), where)


def _certificate(project: Project) -> tuple[str, ...]:
    """A warning, no error: profiles are also checked where their certificates do not lie."""
    try:
        project.check_certificate()
    except ProfileError as error:
        return tuple(f"{p}" + (f" ({p.hint})" if p.hint else "") for p in error.problems) or (error.message,)
    return ()


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
