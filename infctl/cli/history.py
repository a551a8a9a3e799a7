"""`infctl history`: what was done to a platform, by whom, and how it ended. JSON: shapes.HISTORY."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infctl.cli import console
from infctl.cli.options import Files, Json
from infctl.cli.text import Column, duration, table
from infctl.errors import UsageError

if TYPE_CHECKING:
    from infctl.history.entry import Entry

_SHOWN = 20
_STYLES = {"done": "good", "failed": "error", "interrupted": "warning", "unfinished": "warning"}


def history(
    number: Annotated[
        int | None, typer.Argument(metavar="[NUMBER]", help="One entry, whole", min=1, show_default=False)
    ] = None,
    *,
    files: Files = None,
    lines: Annotated[
        int, typer.Option("--tail", "-n", min=1, max=1000, metavar="N", help="The last N entries")
    ] = _SHOWN,
    json_output: Json = False,
) -> None:
    """Show what changed this platform: when, who, what, how it ended, and how long it took.

    The last 50 changes are kept. With a number: that one whole, each action with its cause. What runs now is
    marked; `infctl rollback NUMBER` applies an entry again.

    \b
    Examples:
      infctl history
      infctl history 12
    """
    from infctl.cli.project import open_remains
    from infctl.history.entry import of_running

    remains = open_remains(files)
    newest_first = list(remains.history.newest_first())
    current = of_running(newest_first, remains.applied())
    runs = current.number if current is not None else None
    if number is not None:
        newest_first = [_one(newest_first, number)]
    shown = newest_first[:lines]
    if json_output:
        console.data({"name": remains.name, "entries": [as_data(one, runs) for one in shown]})
    elif number is not None:
        for text in whole(shown[0], runs):
            console.fact(text)
    elif shown:
        for text in screen(shown, runs):
            console.fact(text)
    else:
        console.say("nothing was done here yet: infctl up starts the platform")


def screen(entries: Sequence[Entry], runs: int | None) -> list[str]:
    """A row an entry, the newest last: that is where a person looks."""
    from infctl.cli.window import width

    rows = list(reversed(entries))
    columns = (
        Column("", tuple("*" if one.number == runs else "" for one in rows)),
        Column("no.", tuple(str(one.number) for one in rows), right=True),
        Column("when", tuple(_when(one.at) for one in rows)),
        Column("who", tuple(one.who for one in rows), sacrifice=2),
        Column("what", tuple(one.command for one in rows)),
        Column("outcome", tuple(one.outcome for one in rows), style=lambda cell: _STYLES.get(cell, "")),
        Column("took", tuple(_took(one) for one in rows), right=True, sacrifice=1),
        Column("changed", tuple(summary(one) for one in rows), sacrifice=3),
    )
    marked = ["", "* runs now"] if any(one.number == runs for one in rows) else []
    return [*table(columns, width(), console.styled), *marked]


def whole(entry: Entry, runs: int | None) -> list[str]:
    """One entry: its head, its actions, and why it was not done."""
    now = " · runs now" if entry.number == runs else ""
    out = [f"{entry.number} · {_when(entry.at)} · {entry.who} · {entry.command} · {entry.outcome}{now}"]
    if entry.why:
        out.append(f"  {entry.why}")
    widest = max((len(action.service) for action in entry.actions), default=0)
    for action in entry.actions:
        rest = f"   {action.effect}" if action.effect else ""
        out.append(f"  {action.service:<{widest}}  {action.kind:<9}  {action.cause}{rest}")
    if not entry.actions and entry.applied is not None:
        out.append("  no service was changed, files alone")
    return out


def summary(entry: Entry) -> str:
    """`2 replaced, 1 reloaded`; the names where there are few."""
    counts = Counter(action.kind for action in entry.actions)
    parts = []
    for kind, count in counts.items():
        names = [action.service for action in entry.actions if action.kind == kind and action.service]
        parts.append(f"{kind} {', '.join(names)}" if count <= 2 and names else f"{kind} {count}")
    return "; ".join(parts)


def as_data(entry: Entry, runs: int | None) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": entry.at,
        "who": entry.who,
        "command": entry.command,
        "outcome": entry.outcome,
        "why": entry.why,
        "seconds": entry.seconds,
        "runs_now": entry.number == runs,
        "can_be_applied": entry.did_apply,
        "actions": [
            {
                "kind": action.kind,
                "service": action.service,
                "cause": action.cause,
                "effect": action.effect,
                "away_s": action.away_s,
            }
            for action in entry.actions
        ],
    }


def _one(entries: Sequence[Entry], number: int) -> Entry:
    found = next((one for one in entries if one.number == number), None)
    if found is None:
        kept = ", ".join(str(one.number) for one in itertools.islice(entries, 10))
        raise UsageError(
            f"there is no entry {number} in the history",
            hint=f"the newest are: {kept}" if kept else "nothing was done here yet",
        )
    return found


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _took(entry: Entry) -> str:
    return "-" if entry.outcome == "unfinished" else duration(entry.seconds)
