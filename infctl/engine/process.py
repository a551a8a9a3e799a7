"""Runs a stack as local processes. The owner's side: it writes what is wanted, wakes the supervisor and tells
what happens; starting, watching and restarting are the supervisor's (`infctl.engine.supervisor`).

    engine = ProcessEngine(layout)
    with engine.lock("ann: infctl up"):
        for event in engine.apply(stack, secrets): ...
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infctl import __version__
from infctl.engine import (
    books,
    causes,
    codec,
    force,
    locks,
    ports,
    prepare,
    procfs,
    reconcile,
    snapshot,
    supervisor,
)
from infctl.engine.logs import Follower, LogLine, events_of, last_lines, service_logs, tail
from infctl.engine.model import Action, Event, Observed
from infctl.engine.protocol import NO_FILES
from infctl.engine.refusals import needs_linux, unreadable, unwritable
from infctl.errors import EngineError
from infctl.stack import Layout, Stack

POLL_S = 0.05
LOADING_EVERY_S = 1.0
"""How often a service that is starting says what its log says."""
SUPERVISOR_UP_WITHIN_S = 15.0
GRACE_S = 60.0
"""Beyond the services' own limits, before `apply` and `down` give up on the supervisor."""
NEWS_MAX_CHARACTERS = 200


class ProcessEngine:
    """One platform on this machine. Nothing is touched before a method is called.

    Methods that return an iterator do their work while it is read. All raise EngineError.
    """

    def __init__(self, layout: Layout, *, python: str = sys.executable) -> None:
        self.layout = layout
        self._home = Path(os.path.realpath(layout.home))
        self._state = self._home / "state"
        self._logs = self._home / "logs"
        self._python = python
        self._before: tuple[dict[str, Any] | None, dict[str, Any] | None] | None = None

    # -- what is -----------------------------------------------------------------------------------

    def observe(self) -> Observed:
        """One snapshot, checked against the processes that really exist."""
        needs_linux()
        book, note = self._read(books.OBSERVED)
        return snapshot.observe(str(self._home), book, note, supervised=self._is_supervised())

    def running(self) -> Stack | None:
        """The stack last applied and not taken down since."""
        book, _ = self._read(books.DESIRED)
        return None if book is None or book["down"] else codec.stack_from_json(book["stack"])

    def plan(
        self, stack: Stack, secrets: Mapping[str, str], *, coming: Mapping[str, str] = NO_FILES
    ) -> tuple[Action, ...]:
        """What `apply` would do, and why. The stack itself has the digests of all files."""
        del coming
        observed = self.observe()
        actions = reconcile.reconcile(stack, observed, self._digests(stack, secrets)[1])
        if not actions and self.running() is None:
            # All runs as it should, but what should run is written nowhere: a crash would find no wish.
            return (Action("supervise", "", "the record of what should run was lost"),)
        return actions

    def lock(self, owner: str) -> contextlib.AbstractContextManager[None]:
        """Held around every change. Raises LockError (exit code 7) naming the holder."""
        needs_linux()
        self._make_folders()
        return locks.hold(self._state / locks.LOCK, owner)

    def logs(
        self, services: Sequence[str] = (), *, lines: int = 100, follow: bool = False, poll_s: float = 0.2
    ) -> Iterator[LogLine]:
        """The last `lines` of each service, then, if `follow`, what comes, until the caller stops."""
        followers = {
            name: Follower.at_end(self._logs / f"{name}.log") for name in service_logs(self._logs, services)
        }
        yield from last_lines(self._logs, services, lines)
        while follow:
            for name in service_logs(self._logs, services):
                follower = followers.setdefault(name, Follower(self._logs / f"{name}.log"))
                yield from (LogLine(name, text) for text in follower.new_lines())
            time.sleep(poll_s)

    # -- changes -----------------------------------------------------------------------------------

    def preparations(self, stack: Stack) -> tuple[str, ...]:
        """What `prepare` would do, by the names its events have."""
        return tuple(step.name for step in stack.prepare if not Path(step.creates).exists())

    def prepare(self, stack: Stack) -> Iterator[Event]:
        """Run the preparations whose result is not there yet, one after the other."""
        self._make_folders()
        return prepare.run(stack.prepare, self._logs)

    def apply(self, stack: Stack, secrets: Mapping[str, str]) -> Iterator[Event]:
        """Make `stack` what runs; ends when every service is ready.

        `secrets`: name -> value of each `Service.secret_env`. EngineError when one service fails; what
        was started then stays, for `revert` or a look.
        """
        needs_linux()
        self._make_folders()
        before, _ = self._read(books.DESIRED)
        before = None if before is None or before["down"] else before
        self._before = (before, self._read(books.SECRETS)[0])
        reconcile.check_order(stack)
        key, digests = self._digests(stack, secrets)
        observed = self.observe()
        actions = reconcile.reconcile(stack, observed, digests)
        yield from (Event("", "note", note) for note in observed.notes)
        yield from self.prepare(stack)
        # A reload binds as well: nginx told of a port that is taken keeps the old one, without a word to us.
        binding = {a.service for a in actions if a.kind in ("start", "replace", "reload")}
        new = [s for s in stack.services if s.name in binding]
        ports.check(new, lambda: self._own_processes(stack))

        nonces = {s["name"]: s["nonce"] for s in before["services"]} if before else {}
        for found in observed.services:
            if found.state in ("failed", "backoff"):
                nonces[found.name] = nonces.get(found.name, 0) + 1
        wish = codec.wish(stack, digests, nonces, os.environ)
        values = {name: secrets[name] for s in stack.services for _, name in s.secret_env}
        self._write(books.SECRETS, {"key": key.hex(), "values": values})
        yield from self._wish(wish)

    def adopt(self, stack: Stack) -> None:
        """Nothing but `apply` starts processes of ours, and that notes what it does."""

    def restart(self, names: Sequence[str] = ()) -> Iterator[Event]:
        """Stop and start these services (none named: all), as they are wanted now."""
        wish = self._wished()
        unknown = sorted(set(names) - {s["name"] for s in wish["services"]})
        if unknown:
            known = ", ".join(s["name"] for s in wish["services"])
            raise EngineError(f"there is no service {', '.join(unknown)}", hint=f"there are: {known}")
        for service in wish["services"]:
            if not names or service["name"] in names:
                service["nonce"] += 1
        yield from self._wish(wish, names)

    def previous(self) -> Stack | None:
        """What `apply` of this object replaced; None if nothing ran before."""
        book = self._before[0] if self._before is not None else None
        return None if book is None else codec.stack_from_json(book["stack"])

    def revert(self) -> Iterator[Event]:
        """Back to what ran before `apply`: the previous stack, or nothing."""
        if self._before is None or self._before[0] is None:
            yield from self.down()
            return
        wish, secrets = self._before
        if secrets is not None:
            self._write(books.SECRETS, secrets)
        yield from self._wish(dict(wish or {}))

    def down(self, *, volumes: bool = False) -> Iterator[Event]:
        """Stop everything in reverse order; no process, socket, lock or secret is left. Logs stay."""
        del volumes  # processes have none
        needs_linux()
        book, _ = self._read(books.DESIRED)
        alive = procfs.marked(str(self._home))
        if book is None and not alive and not self._is_supervised():
            self._forget()
            return
        stack = self.running()
        observed = self.observe()
        limit = GRACE_S + sum(o.running.stop_timeout_s for o in observed.services if o.running is not None)
        wish = {**(book or {"stack": None, "services": [], "base_env": {}}), "down": True}
        events = Follower.at_end(self._state / books.EVENTS)
        self._make_folders()
        try:
            self._put(wish)
        except EngineError as error:  # a full disk must not keep anyone from stopping what fills it
            yield Event("", "note", f"{error.message}; stopping without the supervisor")
            force.stop(str(self._home), observed)
            yield from self._end_rest(stack)
            yield from (Event(o.name, "stopped") for o in observed.services if o.pid is not None)
            return
        self._ensure_supervisor()
        deadline = time.monotonic() + limit
        asked_at = time.monotonic()
        while self._is_supervised() or procfs.marked(str(self._home)):
            yield from events_of(events, self._generation)
            if not self._is_supervised() and not (self._state / books.DESIRED).exists():
                # The supervisor has left; the one that waits is on its way out.
                if time.monotonic() > asked_at + SUPERVISOR_UP_WITHIN_S:
                    break
            else:
                asked_at = time.monotonic()
                self._ensure_supervisor()
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        yield from events_of(events, self._generation)
        yield from self._end_rest(stack)

    # -- between the two sides ---------------------------------------------------------------------

    _generation = 0
    _replaced = False
    """Another version's supervisor, once: the record shows the old one for a while."""

    def _wish(self, wish: dict[str, Any], names: Sequence[str] = ()) -> Iterator[Event]:
        """Write the wish, see to it that somebody fulfils it (for `names`, or all), and tell how."""
        events = Follower.at_end(self._state / books.EVENTS)
        self._put(wish)
        self._ensure_supervisor()
        limits = (
            s["stop_timeout_s"] + (s["ready"]["timeout_s"] if s["ready"] else 1.0) for s in wish["services"]
        )
        deadline = time.monotonic() + GRACE_S + sum(limits)
        news_at: dict[str, float] = {}
        checked_at = time.monotonic()
        while True:
            for event in events_of(events, self._generation):
                yield event
                if event.kind == "crashed":
                    self._give_up_if_lasting(event)
            if self._is_fulfilled(wish, names):
                yield from events_of(events, self._generation)
                return
            yield from self._news(news_at)
            now = time.monotonic()
            if now > deadline:
                raise EngineError(
                    "the services did not become ready in time",
                    hint="`infctl status` shows their states, `infctl logs` what they say",
                    log=tail(self._logs / "supervisor.log", causes.LINES_SHOWN),
                )
            if now > checked_at + 1.0:
                checked_at = now
                self._ensure_supervisor()
            time.sleep(POLL_S)

    def _is_fulfilled(self, wish: Mapping[str, Any], names: Sequence[str]) -> bool:
        """Raises EngineError for a service that was given up, or a wish that was overtaken."""
        book, _ = self._read(books.OBSERVED)
        if book is None or book["generation"] < self._generation:
            return False
        if book["generation"] > self._generation:
            raise EngineError("another infctl changed this platform meanwhile", hint="see `infctl status`")
        for record in book["services"]:
            if record["state"] == "failed" and (not names or record["name"] in names):
                raise self._failure(record["name"], record["last_exit"])
        return snapshot.is_done(wish, book, names)

    def _news(self, told_at: dict[str, float]) -> Iterator[Event]:
        """What each starting service says it is doing: the last line of its log, now and then."""
        now = time.monotonic()
        book, _ = self._read(books.OBSERVED)
        for record in book["services"] if book is not None else ():
            name = record["name"]
            if record["state"] != "starting" or now < told_at.setdefault(name, now) + LOADING_EVERY_S:
                continue
            told_at[name] = now
            lines = tail(self._logs / f"{name}.log", 1)
            text = lines[0][:NEWS_MAX_CHARACTERS] if lines else ""
            yield Event(name, "loading", text, max(0.0, now - record["started_mono"]))

    def _put(self, wish: dict[str, Any]) -> None:
        book, _ = self._read(books.DESIRED)
        seen, _ = self._read(books.OBSERVED)
        known = max(b["generation"] if b is not None else 0 for b in (book, seen))
        self._generation = known + 1
        self._write(books.DESIRED, {**wish, "generation": self._generation})
        self._wake()

    def _wished(self) -> dict[str, Any]:
        needs_linux()
        book, _ = self._read(books.DESIRED)
        if book is None or book["down"]:
            raise EngineError("nothing runs here", hint="start it with `infctl up`")
        return book

    def _ensure_supervisor(self) -> None:
        """Start one unless there is one; replace one of another version, which would not read our books."""
        book, _ = self._read(books.OBSERVED)
        if (
            book is not None
            and book["writer"] != __version__
            and not self._replaced
            and self._is_supervised()
        ):
            self._replaced = True
            snapshot.kill_supervisors(str(self._home))
            books.remove(str(self._state / books.SUPERVISOR_LOCK))
        if self._is_supervised():
            return
        supervisor.spawn(str(self._home), self._python)
        deadline = time.monotonic() + SUPERVISOR_UP_WITHIN_S
        while not self._is_supervised() and (self._state / books.DESIRED).exists():
            if time.monotonic() > deadline:
                raise EngineError(
                    "the supervisor did not start",
                    hint=f"see {self._logs / 'supervisor.log'}",
                    log=tail(self._logs / "supervisor.log", causes.LINES_SHOWN),
                )
            time.sleep(POLL_S)

    def _is_supervised(self) -> bool:
        return locks.is_held(self._state / books.SUPERVISOR_LOCK)

    def _wake(self) -> None:
        """A supervisor looks by itself every second; this only makes it sooner."""
        book, _ = self._read(books.OBSERVED)
        pid = book["supervisor"]["pid"] if book is not None else 0
        if procfs.environment(pid).get(procfs.STACK_VARIABLE) == str(self._home) and self._is_supervised():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGHUP)

    def _own_processes(self, stack: Stack | None = None) -> set[int]:
        return snapshot.own_processes(str(self._home), self._read(books.OBSERVED)[0], stack)

    def _end_rest(self, stack: Stack | None) -> Iterator[Event]:
        """Whatever is left after an orderly end, unrecorded by a killed supervisor; then the books."""
        for pid in force.kill(lambda: self._own_processes(stack)):
            yield Event("", "note", f"process {pid} had to be killed")
        self._forget()

    def _forget(self) -> None:
        """Remove the books. The caller's own lock stays until the caller lets it go."""
        names = (books.DESIRED, books.SECRETS, books.OBSERVED, books.STANDBY_LOCK, books.SUPERVISOR_LOCK)
        for name in (*names, f"{books.SECRETS}.corrupt", books.EVENTS, f"{books.EVENTS}.1"):
            try:
                books.remove(str(self._state / name))
            except OSError as error:
                hint = f"nothing runs any more; remove {self._state} by hand"
                raise EngineError(f"{name} cannot be removed: {error.strerror}", hint=hint) from None

    # -- failures ----------------------------------------------------------------------------------

    def _give_up_if_lasting(self, event: Event) -> None:
        """A first start that failed for a lasting cause is not worth two more tries."""
        book, _ = self._read(books.OBSERVED)
        record = next((r for r in book["services"] if r["name"] == event.service), None) if book else None
        if record is None or record["was_ready"]:
            return
        found = causes.find(tail(self._logs / f"{event.service}.log", causes.LINES_SEARCHED))
        if found is not None and found.lasting:
            raise self._failure(event.service, record["last_exit"])

    def _failure(self, name: str, why: str) -> EngineError:
        return causes.failure(self._logs, name, why, "did not start")

    # -- books -------------------------------------------------------------------------------------

    def _digests(self, stack: Stack, secrets: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
        """The key of this home, and a digest for each secret the stack uses."""
        book, _ = self._read(books.SECRETS)
        key = bytes.fromhex(book["key"]) if book is not None else os.urandom(16)
        names = {name: service.name for service in stack.services for _, name in service.secret_env}
        for name, service in names.items():
            if not secrets.get(name):
                raise EngineError(
                    f"{service} needs the secret {name}, which has no value",
                    hint=f"set {name} in the environment or in {self.layout.env_file}",
                )
        return key, {name: codec.secret_digest(key, secrets[name]) for name in names}

    def _make_folders(self) -> None:
        for folder in (self._home, self._state, self._logs):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(folder, error) from None

    def _read(self, name: str) -> tuple[dict[str, Any] | None, str]:
        try:
            return books.read(str(self._state / name))
        except books.NewerBookError as error:
            raise EngineError(str(error), hint=f"use infctl {error.writer} or newer") from None
        except OSError as error:
            raise unreadable(self._state / name, error) from None

    def _write(self, name: str, book: dict[str, Any]) -> None:
        try:
            books.write(str(self._state / name), book, writer=__version__)
        except OSError as error:
            raise unwritable(self._state / name, error) from None
