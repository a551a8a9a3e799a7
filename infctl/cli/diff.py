"""`infctl diff`: what `infctl up` would change, and why. JSON: shapes.DIFF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.cli.text import plural

if TYPE_CHECKING:
    from infctl.engine.model import Action, ActionKind
    from infctl.files import Change
    from infctl.stack import Stack

_KINDS: tuple[ActionKind, ...] = ("start", "replace", "reload", "remove")


def diff(
    *,
    files: Files = None,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when something would change, 0 when nothing")
    ] = False,
    json_output: Json = False,
) -> int:
    """Show what `infctl up` would do, each action with its cause, and how the files would change.

    \b
    Example:
      infctl diff --detailed-exitcode || infctl up
    """
    from infctl.cli.project import open_project

    project = open_project(files)
    built = project.build()
    actions = project.actions(built)
    changes = project.changes(built)
    warnings = [*project.warnings(), *built.warnings]
    if json_output:
        console.data({"name": built.stack.name, **as_data(actions, changes), "warnings": warnings})
    else:
        for text in warnings:
            console.warn(text)
        for line in lines(built.stack, actions, changes):
            console.fact(line)
        show(changes)
    return 2 if detailed and (actions or changes) else 0


_RECORDS = {"supervisor.json"}
"""A record of the services, whose changes are shown as actions already."""


def lines(stack: Stack, actions: Sequence[Action], changes: Sequence[Change]) -> list[str]:
    """`name · 2 to replace, 1 to reload, 7 unchanged`, then a line an action."""
    from infctl.engine.reconcile import describe

    counts = Counter(action.kind for action in actions)
    parts = [f"{counts[kind]} to {kind}" for kind in _KINDS if counts[kind]]
    touched = {action.service for action in actions}
    same = sum(service.name not in touched for service in stack.services)
    if same and actions:
        parts.append(f"{same} unchanged")
    if changes and not actions:
        parts.append(f"no service to change, {plural(len(changes), 'file')} to write")
    out = [f"{stack.name} · {', '.join(parts) or 'nothing to change'}"]
    if actions:
        out += ["", *(f"  {line}" for line in describe(actions).splitlines())]
    return out


def show(changes: Sequence[Change]) -> None:
    """File diffs; of files that are new their names are enough."""
    new = [change.path for change in changes if change.kind == "new"]
    if new:
        console.fact(f"\nnew files: {', '.join(new)}")
    for change in changes:
        if change.kind == "new" or change.path in _RECORDS:
            continue
        console.fact()
        if change.kind == "hand_edited":
            console.warn(f"{change.path} was edited by hand since it was written")
        console.fact(painted(change.diff))


def as_data(actions: Sequence[Action], changes: Sequence[Change]) -> dict[str, Any]:
    return {
        "changes": bool(actions or changes),
        "actions": [{"kind": a.kind, "service": a.service, "cause": a.cause} for a in actions],
        "files": [{"path": c.path, "change": c.kind, "diff": c.diff} for c in changes],
    }


def painted(text: str) -> str:
    """A unified diff, its added and removed lines in colour where there is colour."""
    out = []
    for line in text.splitlines():
        style = "good" if line.startswith("+") else "error" if line.startswith("-") else "dim"
        out.append(console.styled(line, style))
    return "\n".join(out)
