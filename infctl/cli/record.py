"""Who does what: the owner of a lock, and the entry in the history around a change."""

from __future__ import annotations

import contextlib
import getpass
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from infctl.cli import console
from infctl.errors import EngineError, InfctlError, Interrupted
from infctl.history.entry import Entry, Outcome

if TYPE_CHECKING:
    from infctl.engine.model import Action
    from infctl.history.applied import Applied
    from infctl.history.store import Store, Text

WHY_CHARACTERS_MAX = 300


def who() -> str:
    """`ann@box`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = "somebody"
    return f"{name}@{platform.node()}"


def owner(command: str) -> str:
    """As the lock names its holder."""
    return f"{who()}: infctl {command}"


@contextlib.contextmanager
def recorded(
    history: Store,
    command: str,
    *,
    actions: Iterable[Action] = (),
    applied: Applied | None = None,
    files: Iterable[Text] = (),
    needed: bool = True,
) -> Iterator[None]:
    """An entry that says `unfinished` until the block ends, and then how it ended.

    `needed` False: what cannot be written is told, and the block runs all the same (a full disk must not keep
    anyone from stopping what fills it).
    """
    entry = Entry(0, time.time(), who(), command, actions=tuple(actions), applied=applied)
    kept: Entry | None = None
    try:
        kept = history.add(entry, files)
    except EngineError as error:
        if needed:
            raise
        console.warn(f"the history does not get this: {error.message}")
    begun = time.monotonic()
    outcome: Outcome = "failed"
    why = ""
    try:
        yield
        outcome = "done"
    except (KeyboardInterrupt, Interrupted) as error:
        outcome, why = "interrupted", _said(error)
        raise
    except BaseException as error:
        why = _said(error)
        raise
    finally:
        if kept is not None:
            done = replace(kept, outcome=outcome, why=why, seconds=round(time.monotonic() - begun, 1))
            _finish(history, done)


def _said(error: BaseException) -> str:
    parts = (error.message, error.hint) if isinstance(error, InfctlError) else (str(error),)
    said = "; ".join(" ".join(part.split()) for part in parts if part) or type(error).__name__
    return said if len(said) <= WHY_CHARACTERS_MAX else f"{said[: WHY_CHARACTERS_MAX - 1]}…"


def _finish(history: Store, entry: Entry) -> None:
    if not history.folder.exists():
        return  # purged by what it tells of
    try:
        history.update(entry)
    except EngineError as error:
        console.warn(f"the history does not say how this ended: {error.message}")
