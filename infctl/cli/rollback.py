"""`infctl rollback`: what was applied before, applied again. JSON: shapes.ROLLBACK."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from infctl.cli import change, console
from infctl.cli.options import Files, Json, OverwriteEdits, Timeout, WaitLock, Yes
from infctl.errors import EngineError, UsageError

if TYPE_CHECKING:
    from infctl.cli.change import Look
    from infctl.cli.remains import Remains
    from infctl.history.entry import Entry


def rollback(
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="[NUMBER]",
            help="Of `infctl history`; left out: what ran before",
            min=1,
            show_default=False,
        ),
    ] = None,
    *,
    files: Files = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and stop")] = False,
    overwrite_edits: OverwriteEdits = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what was started when something fails")] = False,
    timeout: Timeout = change.TIMEOUT_S,
    wait_lock: WaitLock = 0.0,
    json_output: Json = False,
) -> None:
    """Apply again what was applied before: services, files and all, as the history keeps them.

    The profile is neither read nor changed, so the next `infctl up` goes forward to it again: infctl diff
    shows that. Secrets are those of now. Asks, proves and undoes as `infctl up` does.

    \b
    Examples:
      infctl rollback
      infctl rollback 12 --dry-run
    """
    from infctl.cli.project import open_remains
    from infctl.cli.up import Done, report

    remains = open_remains(files)
    with contextlib.nullcontext() if dry_run else change.locked(remains, "rollback", wait_lock):
        entry = _target(remains, number)
        wanted = remains.wanted(entry)
        seen = change.look(remains, wanted)
        if not json_output:
            console.say(f"back to {entry.number}: {entry.command} of {entry.who}")
            for line in seen.lines():
                console.fact(line)
        if dry_run:
            _show_only(remains, entry, seen, json_output=json_output)
            return
        answers = []
        if seen.is_needed or change.is_unready(seen):
            change.consent(seen, yes=yes)
            options = change.Options(yes, overwrite_edits, keep, timeout)
            answers = change.carry_out(remains, wanted, seen, f"rollback {entry.number}", options)
        done = Done(seen, tuple(answers))
    report(remains, wanted, done, json_output=json_output, more={"to": entry.number})


def _target(remains: Remains, number: int | None) -> Entry:
    """Raises UsageError where there is nothing to go back to, EngineError for the other runtime."""
    from infctl.history.entry import before

    if number is None:
        found = before(remains.history.newest_first(), remains.applied())
        if found is None:
            raise UsageError(
                "there is nothing to go back to: no other stack was applied here",
                hint="infctl history shows what was",
            )
    else:
        found = remains.history.entry(number)
        if found is None:
            raise UsageError(f"there is no entry {number} in the history", hint="infctl history lists them")
        if not found.did_apply:
            raise UsageError(
                f"entry {number} applied nothing ({found.command}, {found.outcome})",
                hint="infctl history lists those that can be applied again: up, scale, rollback, done",
            )
    runtime = found.applied.stack.runtime if found.applied is not None else remains.runtime
    if runtime != remains.runtime:
        raise EngineError(
            f"entry {found.number} ran with `runtime: {runtime}`, and the profile says {remains.runtime}",
            hint=f"infctl down, then runtime: {runtime} in the profile, then infctl rollback {found.number}",
        )
    return found


def _show_only(remains: Remains, entry: Entry, seen: Look, *, json_output: bool) -> None:
    from infctl.cli import diff

    if not json_output:
        diff.show(seen.changes)
        return
    told = {"name": remains.name, **diff.as_data(seen), "applied": False}
    console.data({**told, "answers": [], "measured": [], "status": None, "to": entry.number})
