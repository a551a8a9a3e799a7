"""One vLLM server, as the gateway knows it: its health, its breaker, its counts."""

from __future__ import annotations

import math
from typing import Literal

from gateway.config import Backend as Wanted
from gateway.config import Breaker as Rules
from gateway.policy.breaker import Breaker
from gateway.policy.health import Health

BackendState = Literal["ready", "loading", "down", "drained", "draining"]


class Backend:
    __slots__ = (
        "answered",
        "breaker",
        "capacity",
        "credit",
        "drained",
        "errors",
        "health",
        "host",
        "id",
        "in_flight",
        "model",
        "port",
        "requests",
        "seed",
        "url",
        "weight",
    )

    def __init__(self, wanted: Wanted, model: str, rules: Rules, now: float) -> None:
        self.id = wanted.id
        self.url = wanted.url
        host, _, port = wanted.url.removeprefix("http://").rpartition(":")
        self.host, self.port = host, int(port)
        self.seed = wanted.id.encode()
        """For hashing: the same in every worker and after a restart."""
        self.in_flight = 0
        self.requests = 0
        self.answered = 0
        """Requests that it served to the end."""
        self.errors = 0
        """Requests that it failed: no connection, a broken reply, a 5xx."""
        self.credit = 0.0
        """Of the policy `weighted`: what it is owed."""
        self.drained = False
        """An operator's wish: no new requests."""
        self.health = Health(now, wanted.loading_s)
        self.breaker = Breaker(rules)
        self.configure(wanted, model, rules)

    def configure(self, wanted: Wanted, model: str, rules: Rules) -> None:
        """What a reload may change."""
        self.model = model
        self.breaker.rules = rules
        self.weight = wanted.weight
        self.capacity: float = math.inf if wanted.concurrency is None else wanted.concurrency
        """Calls at once."""

    @property
    def takes_requests(self) -> bool:
        """By what probes and operators say; the breaker is for the balancer to weigh."""
        return not self.drained and self.health.state == "ready"

    @property
    def state(self) -> BackendState:
        if self.drained:
            return "draining" if self.in_flight else "drained"
        return self.health.state
