"""`infctl scale MODEL=N`: more or fewer replicas, planned first. JSON: shapes.SCALE."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import change, console
from infctl.cli.options import Files, Json, Timeout, WaitLock, Yes, complete_model

if TYPE_CHECKING:
    from infctl.cli.change import Look
    from infctl.plan import Plan


def scale(
    replicas: Annotated[
        list[str],
        typer.Argument(metavar="MODEL=N...", help="How many replicas", autocompletion=complete_model),
    ],
    *,
    files: Files = None,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and what would change, and stop")
    ] = False,
    timeout: Timeout = change.TIMEOUT_S,
    wait_lock: WaitLock = 0.0,
    json_output: Json = False,
) -> None:
    """Change how many replicas a model has, as far as the plan says that they fit.

    The highest number comes and goes: chat2 after chat1; no service is renamed, none that stays is touched
    but for its gateway. The profile is not written: the number is kept in .infctl/NAME/scaled.yaml, an
    overlay that every command takes and names, until the profile says the same.

    \b
    Examples:
      infctl scale chat=3
      infctl scale chat=1 embed=2 --dry-run
    """
    from infctl.cli import scaled, up
    from infctl.cli.project import open_project

    begun = time.monotonic()
    project = open_project(files)
    wanted = scaled.asked(replicas, project.written)
    project, built = up.ready_to_go(project.scaled_to(wanted), dry_run=dry_run)
    if not json_output:
        show_verdict(built.plan)
    if dry_run:
        up.show_only(project, built, None, json_output=json_output, with_plan=False)
        return
    options = change.Options(yes=yes, timeout_s=timeout)
    command = " ".join(("scale", *(f"{name}={count}" for name, count in wanted.items())))
    remark = functools.partial(warn_of_more, wanted)
    done = up.apply(project, built, command, options, wait_lock_s=wait_lock, begun=begun, remark=remark)
    up.report(project, project.want(built), done, json_output=json_output)


def warn_of_more(models: Collection[str], seen: Look) -> None:
    """A profile that was changed and not applied yet is applied with the number of replicas."""
    if seen.setting.running is None:
        return
    meant = {s.name for s in seen.setting.stack.services if set(s.models) & set(models)}
    new = [a.service for a in seen.actions if a.kind in ("create", "start") and a.service not in meant]
    more = [*(a.service for a in seen.actions if a.kind == "replace"), *new]
    if more:
        console.warn(f"more than the number of replicas changes: {', '.join(more)}; infctl diff shows why")


def show_verdict(plan: Plan) -> None:
    """What each model then has: the plan's second table. What does not fit was refused before."""
    from infctl.cli.figures import as_is, plain, shortened
    from infctl.cli.plan_tables import model_columns
    from infctl.cli.text import table
    from infctl.cli.window import speaks_utf8, width

    words = as_is if speaks_utf8() else plain
    for line in table(shortened(model_columns(plan), width(), words), width(), console.styled):
        console.fact(line)
    console.fact()
