"""The supervisor's hands: facts become calls of `lifecycle.Machine`, its commands become processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from infctl import __version__
from infctl.engine import birth, books, procfs, records, rotate, supervisor
from infctl.engine.lifecycle import Command, Machine, Unit
from infctl.engine.probe import Prober
from infctl.engine.procfs import Identity

PROBE_EVERY_S = 0.25
PROBE_SLOWLY_AFTER_S = 15.0
LOGS_EVERY_S = 2.0
LEAVING_EVERY_S = 0.05


class Supervisor:
    """One platform. Whoever makes it holds `state/supervisor.lock` as descriptor `lock` for life."""

    def __init__(self, home: str, lock: int) -> None:
        self.home = home
        self.state = os.path.join(home, "state")
        self.logs = os.path.join(home, "logs")
        self.lock = lock
        self.machine = Machine()
        self.writer = __version__
        self.desired: dict[str, Any] = {"services": [], "generation": 0, "down": False}
        self.seen = (-1, -1)
        self.who: dict[str, Identity] = {}
        """The leader of each service that runs."""
        self.spec: dict[str, dict[str, Any]] = {}
        """What each running service was started from."""
        self.pidfds: dict[int, str] = {}
        self.leaving: dict[str, str] = {}
        """Stopping services whose leader has ended, with how it did; others of them are still there."""
        self.notes: list[str] = []
        self.published: dict[str, Any] = {}
        self.published_as = (-1, -1)
        """The file that holds it: one that is damaged, removed or of another's making is written anew."""
        self.poll = select.poll()
        self.wake_r, self.wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.poll.register(self.wake_r, select.POLLIN)
        self.answers: list[tuple[str, float]] = []
        self.ask_at: dict[str, float] = {}
        self.prober = Prober(self._probe_answered)
        self.logs_at = 0.0

    def run(self) -> None:
        signal.set_wakeup_fd(self.wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, lambda *_: None)
        known = self._read_desired()
        self._adopt_all()
        if known:
            self._wish()
        while self._still_ours():
            now = time.monotonic()
            if self._read_desired():
                self._wish()
            for command in self.machine.step(now):
                self._do(command, now)
            self._publish(now)
            if self.desired["down"] and self.machine.is_empty:
                self._leave()
                return
            if self.machine.is_empty and self.seen == books.ABSENT:
                return  # one before us was killed while it left: there is nothing to watch, and no wish
            self._keep_a_standby()
            self._wait(now)
            self._ask_readiness(time.monotonic())
            self._rotate(now)

    # -- facts -------------------------------------------------------------------------------------

    def _wait(self, now: float) -> None:
        due = self.machine.next_at(now)
        waits = [supervisor.POLL_S] + ([max(0.0, due - now)] if due is not None else [])
        if any(u.state == "starting" for u in self.machine.units.values()):
            waits.append(PROBE_EVERY_S)
        if self.leaving:
            waits.append(LEAVING_EVERY_S)
        for fd, _ in self.poll.poll(min(waits) * 1000 + 1):
            if fd == self.wake_r:
                os.read(self.wake_r, 4096)
            elif fd in self.pidfds:
                self._ended(fd)
        now = time.monotonic()
        self._see_off(now)
        while self.answers:
            name, asked_of = self.answers.pop()
            unit = self.machine.units.get(name)
            # An answer to a question about an earlier process says nothing about this one.
            if unit is not None and unit.started_at == asked_of:
                self.machine.answered(name, now)

    def _ended(self, fd: int) -> None:
        name = self.pidfds.pop(fd)
        self.poll.unregister(fd)
        os.close(fd)
        leader = self.who[name]
        unit = self.machine.units.get(name)
        if unit is None or unit.state != "stopping":
            self._sweep(name)
            self.machine.ended(name, birth.how_it_ended(leader.pid), time.monotonic())
            return
        self.leaving[name] = birth.how_it_ended(leader.pid)
        for process in self._members(name):
            # Its own session was asked to end when the leader was; another one does not know yet.
            if process.session != leader.pid:
                procfs.send(process, signal.SIGTERM)

    def _see_off(self, now: float) -> None:
        """A service has stopped when the last of its processes has: until then they hold ports and memory."""
        for name, how in list(self.leaving.items()):
            if not self._members(name):
                del self.leaving[name]
                self.machine.ended(name, how, now)

    def _probe_answered(self, name: str, asked_of: float) -> None:
        """Called from a probe's thread."""
        self.answers.append((name, asked_of))
        try:
            os.write(self.wake_w, b"p")
        except BlockingIOError:
            return

    def _ask_readiness(self, now: float) -> None:
        for name, unit in self.machine.units.items():
            if unit.state != "starting" or now < self.ask_at.get(name, 0.0):
                continue
            ready = self.spec.get(name, {}).get("ready")
            if ready:
                self.prober.ask(name, ready["url"], unit.started_at)
            slow = now - unit.started_at > PROBE_SLOWLY_AFTER_S
            self.ask_at[name] = now + (1.0 if slow else PROBE_EVERY_S)

    def _read_desired(self) -> bool:
        """True if there is a new wish. Without a readable one everything goes on as it is."""
        path = os.path.join(self.state, books.DESIRED)
        seen = books.signature(path)
        if seen == self.seen:
            return False
        self.seen = seen
        try:
            book, note = books.read(path)
        except books.NewerBookError as error:
            # Its writer replaces us. Until then nobody else watches.
            book, note = None, str(error)
        if note:
            self._note(note)
        if book is not None:
            self.desired = book
        return book is not None

    def _wish(self) -> None:
        services = [] if self.desired["down"] else self.desired["services"]
        self.machine.want([records.wanted(s) for s in services])

    def _adopt_all(self) -> None:
        """Find the services that an earlier supervisor started, and kill what nobody can watch."""
        book, note = books.read(os.path.join(self.state, books.OBSERVED))
        if note:
            self._note(note)
        same_boot = book is not None and book.get("boot_id") == procfs.boot_id()
        for record in book["services"] if book is not None and same_boot else ():
            self._adopt_record(record)
        by_mark = procfs.marked(self.home)
        for pid, name in by_mark.items():
            if name != procfs.SUPERVISOR and name not in self.machine.units and birth.is_leader(pid):
                self._adopt_unrecorded(name, pid)
        for pid, name in by_mark.items():
            process = procfs.look(pid)
            if name != procfs.SUPERVISOR and name not in self.who and process is not None:
                procfs.send(process, signal.SIGKILL)

    def _adopt_record(self, record: dict[str, Any]) -> None:
        name = record["name"]
        unit = records.unit_of(record)
        self.machine.adopt(name, unit)
        self.spec[name] = record["spec"]
        identity = Identity(record["leader"], record["start_ticks"], record["exe"])
        if record["pid"] is not None and self._watch(name, identity):
            return
        if identity.pid:
            self.who[name] = identity
            self._sweep(name)
        self.machine.ended(name, "ended while nobody watched", time.monotonic())

    def _adopt_unrecorded(self, name: str, pid: int) -> None:
        """Its record was lost, but its environment says which service it is and from which spec."""
        identity = procfs.identify(pid)
        if identity is None:
            return
        spec = next((s for s in self.desired["services"] if s["name"] == name), {"name": name})
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - procfs.since_boot_s(identity.start_ticks)
        started = time.monotonic() - age
        running = records.wanted(spec, spec_hash=procfs.environment(pid).get(birth.SPEC_VARIABLE, ""))
        unit = Unit(running, running, state="starting", started_at=started, was_started=True)
        if self._watch(name, identity):
            self.machine.adopt(name, unit)
            self.spec[name] = spec
            self._note(f"{name}: found running (pid {pid}) without a record, and taken over")

    def _watch(self, name: str, identity: Identity) -> bool:
        """False if that process is gone."""
        try:
            fd = os.pidfd_open(identity.pid)
        except OSError:
            return False
        if not procfs.is_running(identity):
            # A child that ended already is a zombie with the right identity: its end is read from the pidfd.
            found = procfs.look(identity.pid)
            if found is None or found.start_ticks != identity.start_ticks or found.parent != os.getpid():
                os.close(fd)
                return False
        self.who[name] = identity
        self.pidfds[fd] = name
        self.poll.register(fd, select.POLLIN)
        return True

    # -- deeds -------------------------------------------------------------------------------------

    def _do(self, command: Command, now: float) -> None:
        name = command.service
        if command.kind == "start":
            self._start(name, now)
        elif command.kind == "stop":
            asked = signal.Signals[f"SIG{self.spec[name].get('stop_signal', 'TERM')}"]
            # Stopped by a debugger or by hand, it could not hear the first one.
            for signum in (asked, signal.SIGCONT):
                procfs.send_group(self.who[name], signum)
        elif command.kind == "kill":
            self._note(f"{name}: did not stop in time, killed")
            self._sweep(name)
        else:
            hup = self._service(name).get("reload_signal")
            if hup and name in self.who:
                procfs.send(self.who[name], signal.Signals[f"SIG{hup}"])
                self.spec[name] = self._service(name)

    def _start(self, name: str, now: float) -> None:
        spec = self._service(name)
        if self._sweep(name) or self._sweep(name, spec["argv"]):
            self.machine.not_yet(name, now)
            return
        self.spec[name] = spec
        try:
            pid = birth.spawn(self.home, spec, self.desired.get("base_env", {}))
        except (OSError, KeyError, ValueError, books.NewerBookError) as error:
            missing = f"secret {error} is not known" if isinstance(error, KeyError) else str(error)
            self.machine.ended(name, f"could not be started: {missing}", now, hopeless=True)
            return
        identity = procfs.identify(pid)
        if identity is None or not self._watch(name, identity):
            self.machine.ended(name, birth.how_it_ended(pid), now)
            return
        self.ask_at[name] = 0.0
        self.machine.launched(name, now)

    def _sweep(self, name: str, argv: Sequence[str] = ()) -> int:
        """Kill everything that belongs to this service; how many processes that was."""
        found = self._members(name, argv)
        for process in found:
            procfs.send(process, signal.SIGKILL)
        return len(found)

    def _members(self, name: str, argv: Sequence[str] = ()) -> list[procfs.Process]:
        argv = argv or self.spec.get(name, {}).get("argv", ())
        return procfs.members(self.home, name, self.who.get(name), argv)

    def _service(self, name: str) -> dict[str, Any]:
        """As wanted now, else as it runs."""
        for spec in self.desired["services"]:
            if spec["name"] == name:
                return dict(spec)
        return self.spec[name]

    # -- books -------------------------------------------------------------------------------------

    def _publish(self, now: float) -> None:
        # Wall-clock times are for people; decisions use the monotonic ones, which hold for this boot.
        services = [
            records.record(name, unit, self.who.get(name), self.spec.get(name))
            for name, unit in self.machine.units.items()
        ]
        book = {
            "boot_id": procfs.boot_id(),
            "supervisor": {"pid": os.getpid()},
            "generation": self.desired["generation"],
            "notes": self.notes[-8:],
            "services": services,
        }
        # Told before it shows: whoever sees a state has been able to read how it came about.
        for fact in self.machine.take_happened():
            self._tell(fact.service, fact.kind, fact.text, fact.elapsed_s)
        path = os.path.join(self.state, books.OBSERVED)
        if book != self.published or books.signature(path) != self.published_as:
            # On a full disk it is tried again the next time around: to watch goes on without books.
            with contextlib.suppress(OSError):
                # Where monotonic zero lies on the wall clock.
                self._write(books.OBSERVED, {**book, "epoch": time.time() - now})
                self.published = book
                self.published_as = books.signature(path)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self._tell("", "note", text, 0.0)

    def _tell(self, service: str, kind: str, text: str, elapsed_s: float) -> None:
        event = {"service": service, "kind": kind, "text": text, "elapsed_s": round(elapsed_s, 3)}
        with contextlib.suppress(OSError):  # a full disk is no reason to stop watching
            books.append_event(
                self.state, {"at": time.time(), "generation": self.desired["generation"], **event}
            )

    def _write(self, name: str, book: dict[str, Any]) -> None:
        books.write(os.path.join(self.state, name), book, writer=self.writer)

    # -- the supervisor itself ---------------------------------------------------------------------

    def _still_ours(self) -> bool:
        """False once the home was deleted under us: then another supervisor may have been started."""
        return supervisor.is_same_file(self.lock, os.path.join(self.state, books.SUPERVISOR_LOCK))

    def _keep_a_standby(self) -> None:
        fd = supervisor.take_lock(os.path.join(self.state, books.STANDBY_LOCK), wait=False)
        if fd is not None:
            os.close(fd)
            supervisor.spawn(self.home, sys.executable)

    def _rotate(self, now: float) -> None:
        if now < self.logs_at:
            return
        self.logs_at = now + LOGS_EVERY_S
        limits = (self.desired.get("stack") or {}).get("logs")
        most = {"max_bytes": limits["max_bytes"], "copies": limits["keep"] - 1} if limits else {}
        for name in [*self.machine.units, "supervisor"]:
            rotate.rotate(os.path.join(self.logs, f"{name}.log"), **most)

    def _leave(self) -> None:
        """Everything is down: take the books along. The one that waits finds its lock gone and leaves too."""
        for name in (books.DESIRED, books.SECRETS, books.OBSERVED, books.STANDBY_LOCK, books.SUPERVISOR_LOCK):
            # Whatever cannot be removed must not keep us from leaving: `down` says so.
            with contextlib.suppress(OSError):
                books.remove(os.path.join(self.state, name))
