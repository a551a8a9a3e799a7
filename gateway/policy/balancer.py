"""Which backend takes a call: the one with the least in flight. It owns the counts. No clock, no I/O.

Rule 1: a count goes up in `choose` and down in `release`, once each, whatever happens between.
Rule 2: counts belong to a backend (id and url), a drain to its id; a new configuration keeps both.
Rule 3: ties go round, so that idle replicas share the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.config import Model
from gateway.policy.health import Health

BackendState = Literal["ready", "loading", "down", "drained", "draining"]


class Backend:
    """One vLLM server, as the gateway knows it."""

    __slots__ = ("drained", "errors", "health", "host", "id", "in_flight", "model", "port", "requests", "url")

    def __init__(self, backend_id: str, url: str, model: str, now: float) -> None:
        self.id = backend_id
        self.url = url
        self.model = model
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.host, self.port = host, int(port)
        self.in_flight = 0
        self.requests = 0
        self.errors = 0
        """Requests that it failed: no connection, a broken reply, a 5xx."""
        self.drained = False
        """An operator's wish: no new requests."""
        self.health = Health(now)

    @property
    def takes_requests(self) -> bool:
        return not self.drained and self.health.state == "ready"

    @property
    def state(self) -> BackendState:
        if self.drained:
            return "draining" if self.in_flight else "drained"
        return self.health.state


@dataclass(frozen=True, slots=True)
class Nobody:
    """No backend takes the call. `code` is the error's."""

    code: Literal["no_healthy_backend", "model_loading"]
    why: str
    retry_at: float | None
    """When a probe may have changed that, on the clock of the probes; None: no probe will."""


class Balancer:
    def __init__(self) -> None:
        self._models: dict[str, list[Backend]] = {}
        self._turn = 0

    def configure(self, models: Iterable[Model], now: float) -> tuple[Backend, ...]:
        """Takes over a configuration. Returns the backends that are gone; their requests may still run."""
        known = {(backend.id, backend.url): backend for backend in self.backends()}
        drained = {backend.id for backend in known.values() if backend.drained}
        self._models = {}
        for model in models:
            group = self._models[model.name] = []
            for wanted in model.backends:
                backend = known.pop((wanted.id, wanted.url), None)
                if backend is None:
                    backend = Backend(wanted.id, wanted.url, model.name, now)
                    backend.drained = wanted.id in drained
                backend.model = model.name
                group.append(backend)
        return tuple(known.values())

    def choose(self, model: str) -> Backend | Nobody:
        """The least busy backend of a model, counted in. `release` must follow."""
        group = self._models[model]
        best: Backend | None = None
        size = len(group)
        self._turn += 1
        for offset in range(size):
            backend = group[(self._turn + offset) % size]
            if backend.takes_requests and (best is None or backend.in_flight < best.in_flight):
                best = backend
        if best is None:
            return _nobody(model, group)
        best.in_flight += 1
        best.requests += 1
        return best

    def release(self, backend: Backend, *, failed: bool) -> None:
        backend.in_flight -= 1
        backend.errors += failed

    def backends(self) -> tuple[Backend, ...]:
        return tuple(backend for group in self._models.values() for backend in group)

    def of(self, model: str) -> tuple[Backend, ...]:
        return tuple(self._models.get(model, ()))

    def get(self, backend_id: str) -> Backend | None:
        return next((backend for backend in self.backends() if backend.id == backend_id), None)


def _nobody(model: str, group: list[Backend]) -> Nobody:
    waiting = [backend for backend in group if not backend.drained]
    if not waiting:
        return Nobody("no_healthy_backend", f"Every backend of {model} is drained by an operator.", None)
    retry_at = min(backend.health.next_probe for backend in waiting)
    if any(backend.health.state == "loading" for backend in waiting):
        return Nobody("model_loading", f"{model} is still loading.", retry_at)
    whys = "; ".join(f"{backend.id}: {backend.health.why}" for backend in waiting)
    return Nobody("no_healthy_backend", f"No backend of {model} is healthy ({whys}).", retry_at)
