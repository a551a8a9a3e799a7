"""The life of a service, decided without a clock, a process or a file: time is an argument (monotonic, s).

    state      what happens                         next state   command
    stopped    wanted                               waiting
    waiting    its turn has come                    starting     start
    starting   answered 200 (or stayed up 1 s)      ready
    starting   ended                                backoff | failed (the third time, never ready)
    starting   not ready in time                    stopping     stop, then failed | backoff
    ready      ended                                backoff
    backoff    its time has come                    waiting
    failed     changed or restarted by a person     waiting
    starting, ready   changed                       stopping     stop, then waiting
    starting, ready   a file to reload changed      (same)       reload
    any alive  no longer wanted                     stopping     stop, then gone
    stopping   stop_timeout_s over                  stopping     kill
    stopping   ended                                stopped | gone | backoff | failed

Rule 1. Started only from `waiting`, where only the end of the process leads back to: never two copies.
Rule 2. Of a start group one at a time is starting or stopping: neighbours on a GPU measure free memory.
Rule 3. `after` is met once that service has been started, not when it is ready.
Rule 4. What is no longer wanted stops in the reverse of the start order.
Rule 5. Backoff doubles from BACKOFF_FIRST_S to BACKOFF_MAX_S; forgotten after FORGIVEN_AFTER_S ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0
FORGIVEN_AFTER_S = 60.0
CRASHES_BEFORE_READY_MAX = 3
AGAIN_AFTER_S = 0.1
SETTLED_AFTER_S = 1.0
"""A service without a readiness URL counts as ready when it has stayed up this long."""

State = Literal["stopped", "waiting", "starting", "ready", "backoff", "failed", "stopping"]
Then = Literal["start", "gone", "give up"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the machine needs to know of a service."""

    name: str
    spec_hash: str = ""
    files_hash: str = ""
    nonce: int = 0
    """Raised by `infctl restart`."""
    start_group: str | None = None
    after: tuple[str, ...] = ()
    ready_timeout_s: float | None = None
    """None: the service has no readiness URL."""
    stop_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Command:
    """For the hands: `kind` to `service`."""

    kind: Literal["start", "stop", "kill", "reload"]
    service: str


@dataclass(frozen=True, slots=True)
class Happened:
    service: str
    kind: Literal["started", "waiting", "ready", "reloaded", "stopped", "crashed", "failed"]
    text: str = ""
    elapsed_s: float = 0.0


@dataclass(slots=True)
class Unit:
    """One service's record: what it should be (`target`), what it is (the rest)."""

    target: Wanted | None
    running: Wanted
    state: State = "stopped"
    started_at: float = 0.0
    ready_at: float | None = None
    stop_deadline: float = 0.0
    then: Then = "start"
    killed: bool = False
    restarts: int = 0
    crashes: int = 0
    """In a row."""
    was_ready: bool = False
    was_started: bool = False
    last_exit: str = ""
    next_start_at: float | None = None
    waits_for: str = ""

    @property
    def is_alive(self) -> bool:
        return self.state in ("starting", "ready", "stopping")


def backoff_s(crashes: int) -> float:
    """How long to wait after the n-th crash in a row, n from 1."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(crashes - 1, 16))


@dataclass(slots=True)
class Machine:
    units: dict[str, Unit] = field(default_factory=dict)
    """In start order."""
    happened: list[Happened] = field(default_factory=list)

    def want(self, services: Sequence[Wanted]) -> None:
        """Replace what is wanted by this, in this order."""
        names = {s.name for s in services}
        units = {s.name: self.units.get(s.name, Unit(s, s)) for s in services}
        units.update({name: unit for name, unit in self.units.items() if name not in names})
        for service in services:
            units[service.name].target = service
        for name in units.keys() - names:
            units[name].target = None
        self.units = units

    def adopt(self, name: str, unit: Unit) -> None:
        """A service found running, or remembered as failed or in backoff. Call before `want`."""
        self.units[name] = unit

    def answered(self, name: str, now: float) -> None:
        """The readiness URL answered 200."""
        unit = self.units.get(name)
        if unit is not None and unit.state == "starting":
            unit.state, unit.ready_at, unit.was_ready = "ready", now, True
            self._tell(name, "ready", "", now)

    def ended(self, name: str, why: str, now: float, *, hopeless: bool = False) -> None:
        """The process is gone, with all its children. `hopeless`: another try cannot help."""
        unit = self.units.get(name)
        if unit is None or not unit.is_alive:
            return
        unit.last_exit = why
        if unit.state != "stopping":
            self._crashed(name, unit, why, now, hopeless=hopeless)
        elif unit.then == "give up":
            why = unit.last_exit = f"not ready after {unit.running.ready_timeout_s or 0:g} s"
            self._crashed(name, unit, why, now, hopeless=True)
        else:
            unit.state, unit.ready_at = "stopped", None
            self._tell(name, "stopped", why, now)

    def launched(self, name: str, now: float) -> None:
        """The process exists."""
        self._tell(name, "started", "", now)

    def not_yet(self, name: str, now: float) -> None:
        """The hands could not start it now (an old copy is still dying): ask again soon."""
        self.units[name].state, self.units[name].next_start_at = "backoff", now + AGAIN_AFTER_S

    def step(self, now: float) -> list[Command]:
        """Everything that is due. Ask again at `next_at`, and after each fact."""
        commands: list[Command] = []
        for name, unit in self.units.items():
            commands += self._by_time(name, unit, now)
        for name, unit in list(self.units.items()):
            commands += self._by_wish(name, unit, now)
        for name, unit in self.units.items():
            if unit.state == "waiting" and unit.target is not None:
                blocker = self._blocker(name, unit.target)
                if blocker:
                    if blocker != unit.waits_for:
                        self._tell(name, "waiting", blocker, now)
                    unit.waits_for = blocker
                    continue
                commands.append(self._start(name, unit, unit.target, now))
        return commands

    def next_at(self, now: float) -> float | None:
        """When `step` has something to do by the clock alone."""
        times = []
        for unit in self.units.values():
            if unit.state == "starting":
                limit = unit.running.ready_timeout_s
                times.append(unit.started_at + (SETTLED_AFTER_S if limit is None else limit))
            elif unit.state == "stopping" and not unit.killed:
                times.append(unit.stop_deadline)
            elif unit.state == "backoff" and unit.next_start_at is not None:
                times.append(unit.next_start_at)
        return max(now, min(times)) if times else None

    def take_happened(self) -> list[Happened]:
        taken, self.happened = self.happened, []
        return taken

    @property
    def is_empty(self) -> bool:
        return not self.units

    def _by_time(self, name: str, unit: Unit, now: float) -> Iterable[Command]:
        if unit.state == "starting":
            limit = unit.running.ready_timeout_s
            if limit is None and now >= unit.started_at + SETTLED_AFTER_S:
                self.answered(name, now)
            elif limit is not None and now >= unit.started_at + limit:
                yield self._stop(name, unit, "give up", now)
        elif unit.state == "ready" and unit.crashes:
            if unit.ready_at is not None and now >= unit.ready_at + FORGIVEN_AFTER_S:
                unit.crashes = 0
        elif unit.state == "stopping":
            if now >= unit.stop_deadline and not unit.killed:
                unit.killed = True
                yield Command("kill", name)
        elif unit.state == "backoff" and now >= (unit.next_start_at or 0.0):
            unit.state, unit.next_start_at = "waiting", None

    def _by_wish(self, name: str, unit: Unit, now: float) -> Iterable[Command]:
        target = unit.target
        if target is None:
            yield from self._unwanted(name, unit, now)
        elif _differs(unit.running, target):
            yield from self._changed(name, unit, target, now)
        elif unit.state == "stopped":
            unit.state = "waiting"
        elif unit.state in ("starting", "ready"):
            yield from self._same_process(name, unit, target, now)
        elif unit.state == "stopping" and unit.then == "gone":
            unit.then = "start"

    def _unwanted(self, name: str, unit: Unit, now: float) -> Iterable[Command]:
        if unit.state in ("starting", "ready"):
            if self._may_go(name):
                yield self._stop(name, unit, "gone", now)
        elif unit.state == "stopping":
            unit.then = "gone"
        else:
            del self.units[name]

    def _changed(self, name: str, unit: Unit, target: Wanted, now: float) -> Iterable[Command]:
        if unit.state in ("starting", "ready"):
            yield self._stop(name, unit, "start", now)
        elif unit.state == "stopping":
            unit.then = "start"
        else:
            # A new spec is a new service: old crashes say nothing about it.
            unit.state, unit.running, unit.next_start_at = "waiting", target, None
            unit.crashes = unit.restarts = 0
            unit.was_ready = False

    def _same_process(self, name: str, unit: Unit, target: Wanted, now: float) -> Iterable[Command]:
        changed = unit.running.files_hash != target.files_hash
        if changed and unit.state == "starting":
            # A signal now could hit a process that has no handler yet: reload once it is ready.
            unit.running = replace(
                target, files_hash=unit.running.files_hash, start_group=unit.running.start_group
            )
            return
        # The process stays in the group it was started in: there its neighbours wait for it.
        unit.running = replace(target, start_group=unit.running.start_group)
        if changed:
            yield Command("reload", name)
            self._tell(name, "reloaded", "", now)

    def _may_go(self, name: str) -> bool:
        return not any(
            other.target is None and other.is_alive and name in other.running.after
            for key, other in self.units.items()
            if key != name
        )

    def _blocker(self, name: str, target: Wanted) -> str:
        for other in target.after:
            unit = self.units.get(other)
            if unit is not None and unit.target is not None and not unit.was_started:
                return f"{other} to be started"
        if target.start_group is not None:
            for other, unit in self.units.items():
                if other != name and target.start_group == unit.running.start_group:
                    if unit.state == "starting":
                        return f"{other} to be ready"
                    if unit.state == "stopping":
                        return f"{other} to be stopped"
        return ""

    def _start(self, name: str, unit: Unit, target: Wanted, now: float) -> Command:
        if unit.last_exit and unit.crashes:
            unit.restarts += 1
        unit.state, unit.running, unit.started_at, unit.ready_at = "starting", target, now, None
        unit.killed, unit.was_started, unit.waits_for = False, True, ""
        return Command("start", name)

    def _stop(self, name: str, unit: Unit, then: Then, now: float) -> Command:
        unit.state, unit.then, unit.killed = "stopping", then, False
        unit.stop_deadline = now + unit.running.stop_timeout_s
        return Command("stop", name)

    def _crashed(self, name: str, unit: Unit, why: str, now: float, *, hopeless: bool) -> None:
        unit.crashes += 1
        unit.ready_at = None
        if not unit.was_ready and (hopeless or unit.crashes >= CRASHES_BEFORE_READY_MAX):
            unit.state = "failed"
            self._tell(name, "failed", why, now)
            return
        wait = backoff_s(unit.crashes)
        unit.state, unit.next_start_at = "backoff", now + wait
        self._tell(name, "crashed", f"{why}; again in {wait:g} s", now)

    def _tell(
        self,
        name: str,
        kind: Literal["started", "waiting", "ready", "reloaded", "stopped", "crashed", "failed"],
        text: str,
        now: float,
    ) -> None:
        unit = self.units[name]
        elapsed = now - unit.started_at if unit.started_at else 0.0
        self.happened.append(Happened(name, kind, text, max(0.0, elapsed)))


def _differs(running: Wanted, target: Wanted) -> bool:
    return (running.spec_hash, running.nonce) != (target.spec_hash, target.nonce)
