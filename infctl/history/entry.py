"""One command that changed a platform: when, who, what, how it ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from infctl.engine.model import Action
from infctl.history import applied as whole
from infctl.history.applied import Applied
from infctl.stack import Stack

Outcome = Literal["done", "failed", "interrupted", "unfinished"]
"""failed, interrupted: what ran before runs again, unless `why` says otherwise. unfinished: infctl itself was
killed, or is still at it."""

FORMAT = 1
DOWN = "down"
"""The command after which nothing runs."""


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    """Counts from 1, never used twice."""
    at: float
    """Seconds since the epoch."""
    who: str
    """`ann@box`."""
    command: str
    """As it was meant: `up`, `scale chat=3`, `rollback 4`, `down`."""
    outcome: Outcome = "unfinished"
    why: str = ""
    """In one line, where it was not done."""
    seconds: float = 0.0
    actions: tuple[Action, ...] = ()
    applied: Applied | None = None
    """What was wanted; None for `down` and `restart`."""

    @property
    def changes_the_stack(self) -> bool:
        """As opposed to a restart of what runs."""
        return self.applied is not None or self.command == DOWN

    @property
    def did_apply(self) -> bool:
        return self.outcome == "done" and self.applied is not None


def to_json(entry: Entry, *, writer: str) -> dict[str, Any]:
    kept = None if entry.applied is None else whole.to_json(entry.applied)
    return {"version": FORMAT, "writer": writer, **asdict(entry), "applied": kept}


def from_json(data: Mapping[str, Any]) -> Entry:
    """Raises KeyError, TypeError or ValueError where `data` is no entry of this format."""
    kept = data["applied"]
    return Entry(
        number=int(data["number"]),
        at=float(data["at"]),
        who=str(data["who"]),
        command=str(data["command"]),
        outcome=data["outcome"],
        why=str(data["why"]),
        seconds=float(data["seconds"]),
        actions=tuple(Action(**action) for action in data["actions"]),
        applied=None if kept is None else whole.from_json(kept),
    )


def of_running(entries: Iterable[Entry], running: Stack | None) -> Entry | None:
    """The entry that made what runs. `entries`: newest first."""
    if running is None:
        return None
    return next((one for one in entries if one.did_apply and _stack(one) == running), None)


def before(entries: Iterable[Entry], running: Stack | None) -> Entry | None:
    """What `infctl rollback` goes back to: the newest that was applied and is not what runs.

    Where nothing runs, the last one applied counts as what ran: what was before it is meant.
    """
    current = running
    for one in entries:
        if not one.did_apply:
            continue
        if current is None:
            current = _stack(one)
        elif _stack(one) != current:
            return one
    return None


def _stack(entry: Entry) -> Stack | None:
    return None if entry.applied is None else entry.applied.stack
