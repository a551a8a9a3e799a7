"""One container replaced where there is no room for two: the old one waits, stopped, until the new one works.

Takes up what a killed run left: `rollout_places` says from the containers that are there what comes next.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from infctl.engine.docker import rollout_places as places
from infctl.engine.docker import rollout_ready, telling
from infctl.engine.docker.hands import Hands
from infctl.engine.docker.rollout_care import Care
from infctl.engine.docker.rollout_places import Place, Stand, Step
from infctl.engine.docker.swap import NEXT, OLD
from infctl.engine.docker.watch import Failed
from infctl.engine.model import Event
from infctl.errors import EngineError, InfctlError
from infctl.stack.containers import Container, Project

END_NEW_S = 10.0
"""For a new container that failed."""
_WELL = ("", "none", "healthy")
_RENAMES: dict[Step, tuple[str, str]] = {
    "set aside": ("", OLD),
    "step aside": ("", NEXT),
    "take over": (NEXT, ""),
    "come back": (OLD, ""),
}
"""The ending before, and after."""
_REMOVES: dict[Step, str] = {"forget": OLD, "drop": NEXT}
PLACES_MAX = 4
"""A killed run is behind us after so many rounds, or somebody else is at work."""


@dataclass(frozen=True, slots=True)
class _Failure:
    told: InfctlError
    problems: tuple[InfctlError, ...]
    """Of the old one's way back."""


@dataclass(slots=True)
class Aside:
    """`container` None: only what a killed run left is finished or undone."""

    hands: Hands
    service: str
    name: str
    care: Care
    start_s: float
    project: Project | None = None
    container: Container | None = None
    number: int = 1
    _was_running: bool = field(default=True, init=False)
    """The old one. What did not run is not started again, and what was not ready is not waited for."""
    _was_ready: bool = field(default=True, init=False)
    _begun: float = field(default=0.0, init=False)
    _stopped: float | None = field(default=None, init=False)
    _away_s: float = field(default=0.0, init=False)
    """From stopped to open again."""

    def run(self) -> Iterator[Event]:
        """At the end the new one runs under the name, and has shown that it works.

        Raises what went wrong, after the old one runs again.
        """
        yield from self.recover(back=True)
        self._begun = time.monotonic()
        state = self.hands.inspect(self.name)["State"]
        self._was_running = state["Status"] == "running"
        self._was_ready = self._was_running and (state.get("Health") or {}).get("Status", "") in _WELL
        yield from self.care.may_go()
        failure = yield from self._on(self.place())
        if failure is not None:
            raise self._with(failure)
        yield from self._seen_healthy()
        yield Event(self.service, "ready", f"away for {self._away_s:.1f} s", time.monotonic() - self._begun)

    def recover(self, *, back: bool = False) -> Iterator[Event]:
        """Finish or undo what a killed run left. `back`: undo it in any case.

        Raises where it could be neither.
        """
        self._begun = time.monotonic()
        for _ in range(PLACES_MAX):
            if self.stand().is_clear:
                return
            here = self.place()
            if places.leads_on(here) and not (back and here != "orphan"):
                yield Event(self.service, "note", f"an interrupted replace of {self.name} is finished")
                failure = yield from self._on(here)
                if failure is not None and failure.problems:
                    raise self._with(failure)
            else:
                yield Event(self.service, "note", f"an interrupted replace of {self.name} is undone")
                problems = yield from self._back(here)
                if problems:
                    raise problems[0]
        raise EngineError(
            f"{self.name} could not be put right after an interrupted replace",
            hint=f"`docker ps -a --filter name={self.name}` shows it; remove {NEXT} or {OLD} by hand",
        )

    def stand(self) -> Stand:
        return Stand(*(self._status(self.name + ending) for ending in ("", NEXT, OLD)))

    def place(self) -> Place:
        return places.place(self.stand())

    # -- on and back -------------------------------------------------------------------------------

    def _on(self, here: Place) -> Generator[Event, None, _Failure | None]:
        """Gives what failed, once the old one is back."""
        try:
            for step in places.on(here):
                yield from self._do(step)
        except Exception as error:  # noqa: BLE001 - whatever it is, the old one comes back before it is told
            told = self._told(error)
            yield Event(self.service, "failed", told.message)
            problems = yield from self._back(self.place())
            return _Failure(told, tuple(problems))
        except BaseException:  # Ctrl-C, or nobody reads on
            self._hurry()
            raise
        return None

    def _back(self, here: Place) -> Generator[Event, None, list[InfctlError]]:
        """Every step is tried, whatever the one before did; gives what went wrong."""
        problems: list[InfctlError] = []
        if here not in ("untouched", "prepared", "orphan"):
            yield Event(self.service, "note", f"{self.name}: the one before comes back")
        for step in places.back(here):
            if (step == "wait" and not self._was_ready) or (step == "start" and not self._was_running):
                continue
            try:
                yield from self._do(step, on=False)
            except InfctlError as error:
                problems.append(error)
        return problems

    def _hurry(self) -> None:
        for step in places.hurry(self.place()):
            try:
                for _ in self._do(step, on=False, wait=False):
                    pass
            except InfctlError:
                continue  # what is left is taken up by the next run

    # -- steps -------------------------------------------------------------------------------------

    def _do(self, step: Step, *, on: bool = True, wait: bool = True) -> Iterator[Event]:
        hands, main = self.hands, self.name
        if step in _RENAMES:
            before, after = _RENAMES[step]
            hands.rename(main + before, main + after)
        elif step in _REMOVES:
            gone = hands.find(main + _REMOVES[step])
            if gone is not None:
                hands.remove(gone, force=True)
        elif step == "create":
            self._create()
        elif step == "drain":
            yield from self.care.drain()
        elif step == "start":
            hands.start(main)
            yield Event(self.service, "started")
        elif step == "wait":
            yield from rollout_ready.wait(hands, main, self.service, self.start_s)
        elif step == "ask":
            self.care.prove(str(hands.inspect(main)["Id"]))
        elif step == "undrain":
            self.care.undrain(wait=on and wait)
            self._away_s = 0.0 if self._stopped is None else time.monotonic() - self._stopped
        else:
            self._stop(new=step == "end new")
            yield Event(self.service, "stopped")

    def _create(self) -> None:
        if self.project is None or self.container is None:
            raise EngineError(f"{self.name} cannot be replaced: it is not known by what")
        self.hands.create(self.project, self.container, name=self.name + NEXT, number=self.number)

    def _stop(self, *, new: bool) -> None:
        self._stopped = self._stopped or time.monotonic()
        own_s = self.hands.inspect(self.name)["Config"].get("StopTimeout")
        allowed_s = self.care.stop_s(float(10 if own_s is None else own_s))
        self.hands.stop(self.name, min(allowed_s, END_NEW_S) if new else allowed_s)

    def _seen_healthy(self) -> Iterator[Event]:
        """It serves already; now by Docker as well, which the next look goes by."""
        found, deadline = str(self.hands.inspect(self.name)["Id"]), time.monotonic() + self.start_s
        for event in self.hands.wait_healthy(found, self.service, deadline):
            if event.kind != "ready":
                yield event

    # -- looking -----------------------------------------------------------------------------------

    def _status(self, name: str) -> str:
        there = self.hands.find(name)
        return "" if there is None else str(self.hands.inspect(there)["State"]["Status"])

    def _told(self, error: Exception) -> InfctlError:
        """While the new one is still there: its log goes with it."""
        if isinstance(error, Failed):
            return telling.failure(self.hands, error, self.service)
        if not isinstance(error, InfctlError):
            wrapped = EngineError(f"{self.service} could not be replaced: {error!r}")
            wrapped.__cause__ = error
            return wrapped
        if not error.log and places.leads_on(self.place()):
            error.log = tuple(self.hands.logs(self.name, 20))
        return error

    def _with(self, failure: _Failure) -> InfctlError:
        """What failed, and what became of the one before."""
        told = failure.told
        if failure.problems:
            told.message += f"; and {self.name} did not come back as it was: {failure.problems[0].message}"
        elif self.place() == "untouched":
            told.message += f"; {self.name} runs as it did before"
        return told
