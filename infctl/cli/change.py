"""From what is wanted to what runs: the walk that `up`, `scale`, `rollback` and a saved diff share.

look         what would be done, and what it means. Nothing is touched
consent      asked before anything that runs is replaced or removed
carry_out    files, services, a question to each model; kept in the history, undone where it fails
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infctl.cli import console
from infctl.cli.consequences import Setting, unserved, with_consequences
from infctl.cli.record import owner, recorded
from infctl.errors import GatewayError, Interrupted, LockError, UsageError

if TYPE_CHECKING:
    from infctl.cli.gate import Answer
    from infctl.cli.remains import Remains
    from infctl.cli.wanted import Wanted
    from infctl.engine.model import Action
    from infctl.files import Change

TIMEOUT_S = 1800.0
SEEN_READY_S = 60.0
"""From all services ready to the gateway having seen it."""
ALL_SEEN_S = 15.0
"""The same of each replica, where one of a model's is enough to be asked."""
LOCK_POLL_S = 0.5
ASKS = {"replace", "remove"}
"""Kinds of actions that take something away, if only for a moment."""

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Options:
    yes: bool = False
    overwrite_edits: bool = False
    keep: bool = False
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Look:
    """What would be done, as of one look."""

    setting: Setting
    actions: tuple[Action, ...]
    changes: tuple[Change, ...]
    """Of the rendered files; those that stay as they are, are left out."""

    @property
    def is_needed(self) -> bool:
        return bool(self.actions or self.changes)

    def lines(self) -> list[str]:
        from infctl.cli import diff_screen
        from infctl.cli.window import speaks_utf8, width

        return diff_screen.lines(
            self.setting, self.actions, self.changes, width(), utf8=speaks_utf8(), paint=console.styled
        )


def look(remains: Remains, wanted: Wanted) -> Look:
    """A secret that is not set yet counts as changed, not as an error."""
    from infctl.cli.bring_up import read_typical
    from infctl.files import changes

    engine = remains.engine
    last = remains.last_entry()
    setting = Setting(
        stack=wanted.stack,
        running=remains.applied(),
        observed=engine.observe(),
        was={} if last is None or last.applied is None else {p.service: p for p in last.applied.planned},
        will={one.service: one for one in wanted.applied.planned},
        typical_s=read_typical(engine),
    )
    coming = {
        str(remains.layout.rendered / file.path): hashlib.sha256(file.text.encode()).hexdigest()
        for file in wanted.files
    }
    actions = engine.plan(wanted.stack, wanted.usable_secrets(), coming=coming)
    found = changes(wanted.files, remains.layout.rendered, remains.book)
    return Look(
        setting,
        with_consequences(actions, setting),
        tuple(change for change in found if change.kind != "same"),
    )


@contextlib.contextmanager
def locked(remains: Remains, command: str, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold the platform's lock. Gives whether it had to be waited for: then all may be otherwise.

    Raises LockError with the holder's name, at once or when `wait_s` is over.
    """
    console.goes_on()
    deadline = time.monotonic() + wait_s
    waited = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(remains.engine.lock(owner(command)))
                break
            except LockError as error:
                if time.monotonic() >= deadline:
                    if wait_s:
                        error.message += f"; waited {wait_s:.0f} s for it"
                    raise
                if not waited:
                    console.say(f"{error.message}; waiting")
                waited = True
                time.sleep(min(LOCK_POLL_S, max(deadline - time.monotonic(), 0.0)))
        yield waited


def consent(seen: Look, *, yes: bool) -> None:
    """Raises UsageError where nobody can be asked, Interrupted for a no."""
    if yes or not any(action.kind in ASKS for action in seen.actions):
        return
    if not console.can_ask():
        gone = "; ".join(unserved(seen.actions, seen.setting))
        raise UsageError(
            "something that runs would be replaced or removed, and nobody can be asked here",
            hint=(f"{gone}\n" if gone else "") + "-y says yes; infctl diff shows what would change",
        )
    console.say()
    if not console.ask("apply?"):
        raise Interrupted("not applied", hint="nothing was changed")


def is_unready(seen: Look) -> bool:
    """Nothing to change, and yet not well: told, and then waited for."""
    services = seen.setting.observed.services
    states = [f"{service.name} ({service.state})" for service in services if service.state != "ready"]
    if states:
        console.say(f"not ready: {', '.join(states)}")
    return bool(states)


def carry_out(
    remains: Remains,
    wanted: Wanted,
    seen: Look,
    command: str,
    options: Options,
    *,
    also: Callable[[], Undo] = lambda: _nothing,
) -> list[Answer]:
    """Raises what went wrong, after undoing it. `also`: one more thing to write, answers with its undoing."""
    from infctl.cli import room
    from infctl.cli.bring_up import Change, bring_up

    room.check(remains.layout.home)

    answers: list[Answer] = []

    def prove(left_s: float) -> None:
        for answer in _ask_models(remains, wanted, left_s):
            answers.append(answer)
            _show_answer(answer)

    def write() -> Undo:
        put_back = [also()]
        put_back.append(_write(remains, wanted, overwrite_edits=options.overwrite_edits))
        return functools.partial(_all, put_back)

    wish = Change(wanted.stack, wanted.secrets(), write, prove)
    live = console.is_tty(sys.stderr) and not console.wants_json()
    with recorded(remains.history, command, actions=seen.actions, applied=wanted.applied, files=wanted.files):
        bring_up(remains.engine, wish, timeout_s=options.timeout_s, keep=options.keep, live=live)
    return answers


# Private


def _nothing() -> None:
    return


def _all(undone: Sequence[Undo]) -> None:
    for undo in reversed(undone):
        undo()


def _write(remains: Remains, wanted: Wanted, *, overwrite_edits: bool) -> Undo:
    """Write the rendered files; answers with what puts back what was there."""
    from infctl.files import snapshot, write

    folder = remains.layout.rendered
    undo = snapshot(wanted.files, folder, remains.book)
    write(wanted.files, folder, remains.book, overwrite_edits=overwrite_edits)
    return undo


def _ask_models(remains: Remains, wanted: Wanted, left_s: float) -> Iterator[Answer]:
    """One question a task of each model, through the gateway. GatewayError for one that says nothing."""
    from infctl.cli import gate

    deadline = time.monotonic() + left_s
    with remains.api(wanted.applied.reach, wanted.values) as api:
        models = _seen_healthy(api, min(deadline, time.monotonic() + SEEN_READY_S))
        for answer in gate.ask_all(api, models, timeout_s=max(1.0, deadline - time.monotonic())):
            yield answer
            if not answer.answered:
                raise GatewayError(
                    f"{answer.model} was asked ({answer.task}) and did not answer: {answer.text}",
                    hint=f"infctl logs {answer.model} --tail 50",
                )


def _seen_healthy(api: Any, deadline: float) -> Sequence[Mapping[str, Any]]:
    """The gateway's models, once its own probes have seen each of them ready, and each replica if it can."""
    all_seen = min(deadline, time.monotonic() + ALL_SEEN_S)
    while True:
        said = api.health()
        lacking = [str(model["name"]) for model in said.models if not model.get("healthy", False)]
        behind = any(backend.state in ("down", "loading") for backend in said.backends)
        now = time.monotonic()
        if not lacking and (not behind or now > all_seen):
            return tuple(said.models)
        if now > deadline:
            why = "; ".join(f"{b.id} {b.state} {b.why}".strip() for b in said.backends if b.state != "ready")
            raise GatewayError(
                f"the gateway does not see {', '.join(lacking)} ready: {why}",
                hint="infctl logs gateway --tail 50",
            )
        time.sleep(0.2)


def _show_answer(answer: Answer) -> None:
    from infctl.cli import health

    if console.wants_json():
        return
    health.show(answer)
    if answer.answered and answer.right is False:
        console.warn(
            f"{answer.model} answers, but not as a working model would; infctl health --deep asks again"
        )
