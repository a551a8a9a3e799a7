"""A gateway replaced behind a running nginx without losing a request: `rollout_turns` says by which steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from infctl.engine.docker import payload, rollout_ready, telling
from infctl.engine.docker import rollout_control as control
from infctl.engine.docker import rollout_turns as turns
from infctl.engine.docker.hands import Hands, polls
from infctl.engine.docker.rollout_drain import Said
from infctl.engine.docker.rollout_edge import Edge
from infctl.engine.docker.rollout_turns import Scene, Step
from infctl.engine.docker.swap import NEXT
from infctl.engine.docker.watch import Failed
from infctl.engine.model import Event
from infctl.errors import EngineError, GatewayError, InfctlError
from infctl.stack.containers import Container, Project

SEES_S = 60.0
"""For the new one to see the backends that the old one sees."""


@dataclass(slots=True)
class Turn:
    """One gateway of a platform."""

    hands: Hands
    edge: Edge
    projects: tuple[Project, ...]
    project: Project
    container: Container
    number: int
    start_s: float
    _begun: float = field(default=0.0, init=False)

    @property
    def name(self) -> str:
        return self.container.container_name(self.project.name, self.number)

    @property
    def next(self) -> str:
        return f"{self.name}{NEXT}"

    def run(self) -> Iterator[Event]:
        """Raises what went wrong; the old one serves then, unless it has been ended already."""
        yield from self.recover()
        self._begun = time.monotonic()
        try:
            for step in turns.ON[: turns.NO_WAY_BACK]:
                yield from self._do(step)
        except Exception as error:
            told = self._told(error)
            yield Event(self.container.service, "failed", told.message)
            became = yield from self._undo()
            told.message += became
            raise told from error
        except BaseException:  # Ctrl-C, or nobody reads on
            self._hurry()
            raise
        for step in turns.ON[turns.NO_WAY_BACK :]:
            yield from self._do(step)
        yield Event(self.container.service, "ready", elapsed_s=time.monotonic() - self._begun)

    def recover(self) -> Iterator[Event]:
        """Finish or undo what a killed run left."""
        scene = self.scene()
        if scene.is_clear:
            return
        self._begun = time.monotonic()
        steps = turns.take_up(scene)
        how = "finished" if "take over" in steps else "undone"
        yield Event(self.container.service, "note", f"an interrupted replace of {self.name} is {how}")
        for step in steps:
            yield from self._do(step)

    def scene(self) -> Scene:
        main, new = self._status(self.name), self._status(self.next)
        gateway = control.at(self.hands, self.container, self.name) if new else None
        return Scene(
            main_runs=main == "running",
            main_there=bool(main),
            next_there=bool(new),
            next_runs=new == "running",
            is_connected=bool(new) and bool(self._front() & self._networks(self.next).keys()),
            is_ending=_look(gateway).is_stopping,
            is_pointed=self.edge.is_pointed,
        )

    # -- back --------------------------------------------------------------------------------------

    def _undo(self) -> Generator[Event, None, str]:
        """Gives what to say of it."""
        try:
            for step in turns.undo(self.scene()):
                yield from self._do(step)
        except InfctlError as problem:
            return f"; and it could not be undone: {problem.message}"
        return f"; {self.name} serves as it did before"

    def _hurry(self) -> None:
        try:
            for step in turns.hurry(self.scene()):
                for _ in self._do(step):
                    pass
        except InfctlError:
            return  # the next run takes it up

    # -- steps -------------------------------------------------------------------------------------

    def _do(self, step: Step) -> Iterator[Event]:
        silent: dict[Step, Callable[[], None]] = {
            "check": self.edge.check,
            "tell": self._tell,
            "connect": self._connect,
            "keep": self.edge.wait_kept,
            "take over": self._take_over,
            "look up": self.edge.wait_looked_up,
            "release": self.edge.release,
            "drop": lambda: self._remove(self.next),
        }
        if step in silent:
            silent[step]()
        elif step in ("hold", "turn"):
            self.edge.point([*self._others(), self._address(self.name if step == "hold" else self.next)])
        elif step == "make":
            self._make()
            yield Event(self.container.service, "started")
        elif step == "wait":
            yield from self._wait(self.next)
        elif step == "revive":
            yield from self._revive()
        else:
            yield Event(self.container.service, "waiting", "its streams to end")
            self._stop(self.name if step == "end" else self.next)
            yield Event(self.container.service, "stopped")

    def _make(self) -> None:
        new = self.hands.create(self.project, self.container, name=self.next, number=self.number)
        for network in self._front():
            self.hands.disconnect(new, network)
        self.hands.start(new)

    def _take_over(self) -> None:
        self._remove(self.name)
        self.hands.rename(self.next, self.name)

    def _revive(self) -> Iterator[Event]:
        """Neither of the two ran."""
        if self.hands.find(self.name) is not None:
            self.hands.start(self.name)
            yield from self._wait(self.name)

    def _wait(self, name: str) -> Iterator[Event]:
        return rollout_ready.wait(self.hands, name, self.container.service, self.start_s)

    def _tell(self) -> None:
        """Raises GatewayError where the new one does not see what the old one sees."""
        old = control.at(self.hands, self.container, self.name)
        new = control.at(self.hands, self.container, self.next)
        if new is None:
            raise GatewayError(f"{self.next} has ended")
        before = _look(old)
        known = {one.id for one in new.look().backends}
        for backend in sorted(before.drained & known):
            new.drain(backend)
        deadline = time.monotonic() + SEES_S
        for now in polls():
            lacking = [one for one in new.look().backends if one.id in before.ready and one.state != "ready"]
            # A backend may end while we look: what the old one lost too is not the new one's fault.
            if not lacking or not {one.id for one in lacking} & _look(old).ready:
                return
            if now > deadline:
                why = "; ".join(f"{one.id} {one.state} {one.why}".strip() for one in lacking)
                raise GatewayError(f"{self.next} does not reach what {self.name} reaches: {why}")

    def _connect(self) -> None:
        endpoints = payload.endpoints(self.project, self.container, number=self.number)
        for network in sorted(self._front() - self._networks(self.next).keys()):
            self.hands.connect(self.next, network, endpoints[network]["Aliases"])

    def _stop(self, name: str) -> None:
        own_s = self.hands.inspect(name)["Config"].get("StopTimeout")
        self.hands.stop(name, float(10 if own_s is None else own_s))

    def _remove(self, name: str) -> None:
        there = self.hands.find(name)
        if there is not None:
            self.hands.remove(there, force=True)

    # -- looking -----------------------------------------------------------------------------------

    def _front(self) -> frozenset[str]:
        """The networks it shares with nginx."""
        wanted = payload.endpoints(self.project, self.container, number=self.number)
        return self.edge.networks & wanted.keys()

    def _address(self, name: str) -> str:
        there = self._networks(name)
        found = [there[network] for network in sorted(self._front()) if there.get(network)]
        if not found:
            raise EngineError(f"{name} has no address that nginx reaches")
        return found[0]

    def _others(self) -> list[str]:
        """Addresses of the other gateways, where there are several."""
        names = [gateway.name for gateway in control.running(self.hands, self.projects)]
        return [self._address(name) for name in names if name != self.name]

    def _networks(self, name: str) -> dict[str, str]:
        """Name of the network -> its address there."""
        networks = self.hands.inspect(name)["NetworkSettings"]["Networks"]
        return {network: str(endpoint.get("IPAddress") or "") for network, endpoint in networks.items()}

    def _status(self, name: str) -> str:
        there = self.hands.find(name)
        return "" if there is None else str(self.hands.inspect(there)["State"]["Status"])

    def _told(self, error: Exception) -> InfctlError:
        """While the new one is still there: its log goes with it."""
        if isinstance(error, Failed):
            return telling.failure(self.hands, error, self.container.service)
        if isinstance(error, InfctlError):
            return error
        return EngineError(f"{self.container.service} could not be replaced: {error!r}")


def _look(gateway: control.Gateway | None) -> Said:
    """One that does not answer has nothing to say."""
    try:
        return Said() if gateway is None else gateway.look()
    except GatewayError:
        return Said()
