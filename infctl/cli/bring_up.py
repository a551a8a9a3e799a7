"""The part of `infctl up` that changes something: write files, apply, ask the models, or undo all of it.

Whatever goes wrong between the first write and the last answer, a Ctrl-C included, ends with what ran before.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType

from infctl.cli import console
from infctl.cli.progress import Progress
from infctl.engine.model import Event
from infctl.engine.protocol import Engine
from infctl.errors import EngineError, InfctlError, Interrupted
from infctl.stack import Stack


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become what runs."""

    stack: Stack
    secrets: Mapping[str, str]
    write: Callable[[], Callable[[], None]]
    """Writes the rendered files; answers with what puts the old ones back."""
    prove: Callable[[float], None]
    """Raises InfctlError unless the models answer. Gets the seconds left."""


def bring_up(engine: Engine, change: Change, *, timeout_s: float, keep: bool, live: bool) -> None:
    """Raises what went wrong, after undoing it (unless `keep`)."""
    deadline = time.monotonic() + timeout_s
    put_back: Callable[[], None] | None = None
    touched = False
    with _signals_interrupt():
        try:
            _prepare(engine, change.stack, deadline, live=live)
            put_back = change.write()
            touched = True
            _apply(engine, change, deadline, live=live)
            change.prove(max(1.0, deadline - time.monotonic()))
        except KeyboardInterrupt:
            left = _undo(engine, put_back, touched=touched, keep=keep, live=live)
            raise Interrupted("interrupted", hint=left) from None
        except InfctlError as error:
            left = _undo(engine, put_back, touched=touched, keep=keep, live=live)
            error.hint = "\n".join(part for part in (error.hint, left) if part)
            raise
        except Exception:
            # A disk that is full, a fault of ours: what was started is stopped all the same.
            console.say(_undo(engine, put_back, touched=touched, keep=keep, live=live))
            raise


def _prepare(engine: Engine, stack: Stack, deadline: float, *, live: bool) -> None:
    names = engine.preparations(stack)
    if names:
        _watch(engine.prepare(stack), names, {}, {}, deadline, live=live)


def _apply(engine: Engine, change: Change, deadline: float, *, live: bool) -> None:
    names = tuple(service.name for service in change.stack.services)
    typical = read_typical(engine)
    events = engine.apply(change.stack, change.secrets)
    took = _watch(events, names, typical, roles(change.stack), deadline, live=live)
    write_typical(engine, {**typical, **took})


def _watch(
    events: Iterator[Event],
    names: tuple[str, ...],
    typical: Mapping[str, float],
    roles_of: Mapping[str, str],
    deadline: float,
    *,
    live: bool,
) -> dict[str, float]:
    """Show events until they end; seconds to ready of what became ready."""
    with Progress(names, typical, live=live, ctrl_c="Ctrl-C undoes it", roles=roles_of) as progress:
        for event in events:
            progress.take(event)
            if time.monotonic() > deadline:
                waiting = ", ".join(progress.waiting()) or event.service
                raise EngineError(
                    f"--timeout is over, and {waiting} is not ready",
                    hint="--timeout SECONDS gives it longer; infctl logs shows what it does",
                )
    return progress.ready_s


def _undo(
    engine: Engine, put_back: Callable[[], None] | None, *, touched: bool, keep: bool, live: bool
) -> str:
    """Back to what ran before; answers with what is left how, in a line."""
    if not touched:
        return "nothing was changed"
    if keep:
        return "kept as it is (--keep): infctl status shows it, infctl down ends it"
    before = engine.previous()
    names = tuple(service.name for service in before.services) if before else ()
    console.say("going back to what ran before" if before else "stopping what was started")
    try:
        if put_back is not None:
            put_back()
        with Progress(names, {}, live=live, roles=roles(before)) as progress:
            for event in engine.revert():
                progress.take(event)
    except KeyboardInterrupt:
        return "interrupted again while undoing: infctl status shows what is left, infctl down ends it"
    except (InfctlError, OSError) as error:
        return f"it could not be undone ({error}): infctl status shows what is left, infctl down ends it"
    return "what ran before runs again" if before else "nothing was left running"


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal undo as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None:
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup: a closed terminal is not meant to end it
            with contextlib.suppress(ValueError):  # not the main thread: a test
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def roles(stack: Stack | None) -> dict[str, str]:
    """Service -> role, of all that may be waited for."""
    if stack is None:
        return {}
    found = {one.service: str(one.role) for project in stack.projects for one in project.containers}
    return found | {service.name: str(service.role) for service in stack.services}


# How long starts usually take


def read_typical(engine: Engine) -> dict[str, float]:
    """Service -> seconds its last start took; empty before the first."""
    try:
        book = json.loads((engine.layout.home / "timings.json").read_text("utf-8"))
        return {str(name): float(seconds) for name, seconds in book["ready_s"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_typical(engine: Engine, ready_s: Mapping[str, float]) -> None:
    file = engine.layout.home / "timings.json"
    rounded = {name: round(seconds, 1) for name, seconds in ready_s.items()}
    with contextlib.suppress(OSError):  # a nicety, not worth failing for
        file.write_text(json.dumps({"version": 1, "ready_s": rounded}), encoding="utf-8")
