"""`infctl diff`: what `infctl up` would change, and why. JSON: shapes.DIFF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json

if TYPE_CHECKING:
    from infctl.cli.change import Look
    from infctl.files import Change


def diff(
    *,
    files: Files = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Save it, for `infctl up FILE`"),
    ] = None,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when something would change, 0 when nothing")
    ] = False,
    json_output: Json = False,
) -> int:
    """Show what `infctl up` would do: each action with its cause, what it does to memory and tokens, who is
    away for how long, and how the files would change.

    What was set at run time (infctl quota set) is shown as well: it stays as it is.

    Drift is found too: containers and rendered files edited by hand, and mounted files whose contents
    changed. With -o it is saved; `infctl up FILE` then applies exactly that, or refuses it when anything
    has moved since.

    \b
    Examples:
      infctl diff --detailed-exitcode || infctl up
      infctl diff -o change.json && infctl up change.json
    """
    from infctl.cli import change, run_time, saved
    from infctl.cli.project import open_project

    project = open_project(files)
    built = project.build()
    wanted = project.want(built)
    seen = change.look(project, wanted)
    warnings = [*project.warnings(), *built.warnings]
    kept = run_time.asked(project)
    if json_output:
        console.data(
            {"name": built.stack.name, **as_data(seen), "warnings": warnings, "set_at_run_time": kept}
        )
    else:
        for text in warnings:
            console.warn(text)
        for line in seen.lines():
            console.fact(line)
        for line in run_time.lines(kept):
            console.fact(line)
        show(seen.changes)
    if output is not None:
        saved.write(output, saved.of(project, wanted, seen))
        console.say(f"saved: infctl up {output} applies exactly this")
    return 2 if detailed and seen.is_needed else 0


_RECORDS = {"supervisor.json"}
"""A record of the services, whose changes are shown as actions already."""
_OURS = ("gateway/image/", "engine/")
"""infctl's own programs, as they come with it: their names are enough."""
_ALONE_MAX = 3
"""New files of one folder that are named one by one."""


def show(changes: Sequence[Change]) -> None:
    """File diffs; of files that are new, and of infctl's own programs, their names are enough."""
    new = [change.path for change in changes if change.kind == "new"]
    if new:
        console.fact(f"\nnew files: {', '.join(grouped(new))}")
    ours = [c.path for c in changes if c.kind in ("changed", "gone") and c.path.startswith(_OURS)]
    if ours:
        console.fact(f"\nof another version of infctl: {', '.join(grouped(ours))}")
    for change in changes:
        if change.kind == "new" or change.path in {*_RECORDS, *ours}:
            continue
        console.fact()
        if change.kind == "hand_edited":
            console.warn(f"{change.path} was edited by hand since it was written")
        console.fact(painted(change.diff))


def grouped(paths: Sequence[str]) -> list[str]:
    """`gateway/image/ (48 files)` for many of one folder."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        top = next((one for one in _OURS if path.startswith(one)), path.rpartition("/")[0])
        folders.setdefault(top, []).append(path)
    out = []
    for folder, found in folders.items():
        many = folder and len(found) > _ALONE_MAX
        out += [f"{folder.rstrip('/')}/ ({len(found)} files)"] if many else found
    return out


def as_data(seen: Look) -> dict[str, Any]:
    return {
        "changes": seen.is_needed,
        "actions": [
            {
                "kind": action.kind,
                "service": action.service,
                "cause": action.cause,
                "effect": action.effect,
                "away_s": action.away_s,
            }
            for action in seen.actions
        ],
        "files": [{"path": c.path, "change": c.kind, "diff": c.diff} for c in seen.changes],
        "notes": list(seen.setting.observed.notes),
    }


def painted(text: str) -> str:
    """A unified diff, its added and removed lines in colour where there is colour."""
    out = []
    for line in text.splitlines():
        style = "good" if line.startswith("+") else "error" if line.startswith("-") else "dim"
        out.append(console.styled(line, style))
    return "\n".join(out)
