"""Which backend takes a call. It owns the backends and their counts. No clock, no I/O.

Rule 1: a count goes up in `choose` and down in `release`, once each, whatever happens between.
Rule 2: counts belong to a backend (id and url), a drain to its id; a new configuration keeps both.
Rule 3: fit is who is ready, not drained, with a closed breaker. Where nobody is, a breaker that is due for a
        try; and where no breaker lets anybody through, all of them: statistics alone never eject the last.

    a backend is              and its breaker   gets the call               full
    ready                     closed            at once                     the call waits for it
    ready                     due for a try     if none above takes calls   the call waits for it
    ready                     open              if none above takes calls   the call waits for it
    loading, down, drained    any               never                       -
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from gateway.config import Balancing, Config
from gateway.policy import choice
from gateway.policy.backend import Backend, BackendState
from gateway.policy.breaker import Fact

__all__ = ["FULL", "Backend", "BackendState", "Balancer", "Full", "Nobody", "Place"]


class Place:
    """A call, counted in at a backend."""

    __slots__ = ("backend", "permit")

    def __init__(self, backend: Backend, permit: int) -> None:
        self.backend: Final = backend
        self.permit: Final = permit
        """Of its breaker."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """No backend takes the call. `code` is the error's."""

    code: Literal["no_healthy_backend", "model_loading"]
    why: str
    retry_at: float | None
    """When one is expected to take calls, on the clock of the probes; None: no probe will change that."""


@dataclass(frozen=True, slots=True)
class Full:
    """Those who take calls compute as many as they can."""


FULL: Final = Full()


class Balancer:
    def __init__(self, draw: choice.Draw = lambda: 0.5) -> None:
        """`draw`: the chance that `power_of_two` takes."""
        self._draw = draw
        self._models: dict[str, list[Backend]] = {}
        self._policy = Balancing()
        self._turn = 0
        self.in_flight = 0
        """Calls at all backends, also at those that a reload took away."""

    def configure(self, config: Config, now: float) -> tuple[Backend, ...]:
        """Takes over a configuration. Returns the backends that are gone; their requests may still run."""
        known = {(backend.id, backend.url): backend for backend in self.backends()}
        self._policy = config.balancing
        drained = {backend.id for backend in known.values() if backend.drained}
        self._models = {}
        for model in config.models:
            group = self._models[model.name] = []
            for wanted in model.backends:
                backend = known.pop((wanted.id, wanted.url), None)
                if backend is None:
                    backend = Backend(wanted, model.name, config.breaker, now)
                    backend.drained = wanted.id in drained
                else:
                    backend.configure(wanted, model.name, config.breaker)
                group.append(backend)
        return tuple(known.values())

    def choose(
        self, model: str, now: float, key: bytes = b"", without: Collection[Backend] = ()
    ) -> Place | Full | Nobody:
        """A place at a backend of a model: `release` must follow.

        `key`: calls with the same one belong together. `without`: not these.
        """
        group = self._models.get(model, [])
        candidates = [
            backend
            for backend in group
            if backend.in_flight < backend.capacity
            and backend.health.state == "ready"
            and backend.breaker.state == "closed"
            and not backend.drained
        ]
        if not candidates or without:
            rest = _second_look(model, group, now, without)
            if not isinstance(rest, list):
                return rest
            candidates = rest
        best = candidates[0] if len(candidates) == 1 else self._pick(candidates, key)
        best.in_flight += 1
        best.requests += 1
        self.in_flight += 1
        return Place(best, best.breaker.take(now))

    def look(self, model: str, now: float, without: Collection[Backend]) -> Nobody | None:
        """Who would take the call, now or once there is room. None: somebody."""
        found = _second_look(model, self._models.get(model, []), now, without)
        return found if isinstance(found, Nobody) else None

    def spare(self, model: str, but: Backend) -> bool:
        """Is another one fit, with room? For what need not be sent at all: rule 3's last resorts are none."""
        return any(
            backend is not but
            and backend.in_flight < backend.capacity
            and backend.takes_requests
            and backend.breaker.state == "closed"
            for backend in self._models.get(model, ())
        )

    def release(self, place: Place, fact: Fact, now: float, *, failed: bool) -> bool:
        """The call has ended, `failed` by the backend. True: its breaker has a new state."""
        backend = place.backend
        backend.in_flight -= 1
        self.in_flight -= 1
        backend.errors += failed
        backend.answered += fact == "success"
        return backend.breaker.report(place.permit, fact, now)

    def backends(self) -> tuple[Backend, ...]:
        return tuple(backend for group in self._models.values() for backend in group)

    def group(self, model: str) -> Collection[Backend]:
        """The same, to be looked at now."""
        return self._models.get(model, ())

    def of(self, model: str) -> tuple[Backend, ...]:
        return tuple(self._models.get(model, ()))

    def get(self, backend_id: str) -> Backend | None:
        return next((backend for backend in self.backends() if backend.id == backend_id), None)

    def _pick(self, candidates: list[Backend], key: bytes) -> Backend:
        if key:
            return choice.keyed(candidates, key, self._policy.prefix_bound)
        policy = self._policy.policy
        if policy == "power_of_two":
            return choice.power_of_two(candidates, self._draw)
        if policy == "weighted":
            return choice.weighted(candidates)
        self._turn += 1
        return choice.least_in_flight(candidates, self._turn)


def _second_look(
    model: str, group: list[Backend], now: float, without: Collection[Backend]
) -> list[Backend] | Full | Nobody:
    """Rule 3, step by step."""
    ready = [backend for backend in group if backend.takes_requests and backend not in without]
    if not ready:
        return _nobody(model, group, now)
    closed = [backend for backend in ready if backend.breaker.state == "closed"]
    due = closed or [backend for backend in ready if backend.breaker.lets_through(now)]
    return [backend for backend in due or ready if backend.in_flight < backend.capacity] or FULL


def _nobody(model: str, group: list[Backend], now: float) -> Nobody:
    if not group:
        return Nobody("no_healthy_backend", f"{model} is gone from the configuration.", None)
    waiting = [backend for backend in group if not backend.drained]
    if not waiting:
        return Nobody("no_healthy_backend", f"Every backend of {model} is drained by an operator.", None)
    retry_at = min(backend.health.expected_at(now) for backend in waiting)
    if any(backend.health.state == "loading" for backend in waiting):
        return Nobody("model_loading", f"{model} is still loading.", retry_at)
    whys = "; ".join(f"{backend.id}: {backend.health.why}" for backend in waiting)
    return Nobody("no_healthy_backend", f"No backend of {model} is healthy ({whys}).", retry_at)
