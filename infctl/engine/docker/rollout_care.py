"""What a service needs around a replace: an engine is drained and proven, others are only stopped in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from infctl.engine.docker import rollout_control as control
from infctl.engine.docker import rollout_drain as drains
from infctl.engine.docker.hands import Hands, polls
from infctl.engine.model import Event
from infctl.errors import EngineError, GatewayError
from infctl.stack.containers import Container, Project

OPEN_S = 60.0
"""From undrained to seen ready by every gateway: its own probes take a second."""
IDLE_SLACK_S = 5.0
QUIET_S = 10.0
"""How long nginx is kept for a moment without a request before it is stopped."""
EDGE_STOP_S = 10.0
"""What runs through it may take so long to end; all that time it takes nothing new."""


class Care:
    """Nothing: for what nobody waits for."""

    def may_go(self) -> Iterator[Event]:
        """Raises EngineError where taking it away would leave nobody."""
        yield from ()

    def drain(self) -> Iterator[Event]:
        yield from ()

    def stop_s(self, own_s: float) -> float:
        """How long it may take to stop. `own_s`: what it was made with."""
        return own_s

    def prove(self, container_id: str) -> None:
        """Raises EngineError where it is healthy and yet of no use."""

    def undrain(self, *, wait: bool) -> None:
        """Raises GatewayError. `wait`: until it is seen ready."""


@dataclass(slots=True)
class EngineCare(Care):
    """An engine behind one gateway or several."""

    hands: Hands
    projects: tuple[Project, ...]
    container: Container
    host: str
    """Its name, which is its host name in the gateway's configuration."""
    start_s: float
    was_drained: bool = field(default=False, init=False)
    """By an operator, who will undrain it himself."""

    def may_go(self) -> Iterator[Event]:
        told = ""
        begun = time.monotonic()
        for now in polls():
            said = tuple(gateway.look() for gateway in self._gateways())
            verdict = drains.may_go(said, self.host, now - begun, self.start_s)
            if verdict.kind == "go":
                return
            if verdict.kind == "refuse":
                raise EngineError(
                    f"{self.container.service} was not replaced: {verdict.why}",
                    hint="`infctl status` and `infctl logs` tell why; once it answers, run the command again",
                )
            if verdict.why != told:
                told = verdict.why
                yield Event(self.container.service, "waiting", told, now - begun)

    def drain(self) -> Iterator[Event]:
        known = []
        for gateway in self._gateways():
            said = gateway.look()
            backend = said.backend(self.host)
            if backend is not None:
                known.append((gateway, backend, said.drain_s))
        self.was_drained = bool(known) and all(backend.is_drained for _, backend, _ in known)
        left = [gateway.drain(backend.id).backend(self.host) for gateway, backend, _ in known]
        running = sum(one.in_flight for one in left if one is not None)
        if running:
            yield Event(self.container.service, "waiting", f"{_requests(running)} to end")
        for gateway, backend, drain_s in known:
            after = gateway.wait_idle(backend.id, drain_s + IDLE_SLACK_S).backend(self.host)
            if after is not None and after.in_flight:
                text = f"{_requests(after.in_flight)} still run after {drain_s:.0f} s, and are cut off"
                yield Event(self.container.service, "note", text)

    def prove(self, container_id: str) -> None:
        control.prove(self.hands, self.container, container_id)

    def undrain(self, *, wait: bool) -> None:
        if self.was_drained:
            return
        for gateway in self._gateways():
            backend = gateway.look().backend(self.host)
            if backend is None:
                continue
            gateway.undrain(backend.id)
            if not wait:
                continue
            seen = gateway.wait_open(backend.id, OPEN_S).backend(self.host)
            if seen is not None and seen.state != "ready":
                raise GatewayError(
                    f"{gateway.name} does not see {backend.id} ready: {seen.state} {seen.why}".rstrip(),
                    hint="`infctl logs gateway --tail 20`",
                )

    def _gateways(self) -> tuple[control.Gateway, ...]:
        return control.running(self.hands, self.projects)


@dataclass(slots=True)
class EdgeCare(Care):
    """nginx: while it is away nobody gets in, so it goes in a quiet moment and quickly."""

    hands: Hands
    projects: tuple[Project, ...]
    service: str

    def drain(self) -> Iterator[Event]:
        begun = time.monotonic()
        told = False
        for now in polls():
            running = sum(gateway.look().in_flight for gateway in control.running(self.hands, self.projects))
            if not running or now > begun + QUIET_S:
                return
            if not told:
                told = True
                yield Event(self.service, "waiting", f"a moment without requests; {_requests(running)} run")

    def stop_s(self, own_s: float) -> float:
        return min(own_s, EDGE_STOP_S)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"
