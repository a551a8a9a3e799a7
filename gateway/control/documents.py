"""What the control plane says, as plain data. Pure: no framework, so that health costs nothing."""

from __future__ import annotations

import math
from typing import Any, Final

from gateway.catalog import paths_of
from gateway.config import Model
from gateway.live import Live
from gateway.policy.balancer import Backend
from gateway.policy.window import window
from gateway.version import version

NEAR: Final = 0.9
"""Of a limit: used or held."""
NEAR_MAX: Final = 20


def backend(known: Backend, now: float) -> dict[str, Any]:
    """Times in seconds: `last_probe_s_ago` is null before the first probe, `retry_in_s` unless open."""
    probed, breaker = known.health.probed_at, known.breaker
    return {
        "id": known.id,
        "model": known.model,
        "url": known.url,
        "state": known.state,
        "breaker": {
            "state": breaker.state,
            "failures": breaker.failures,
            "opened": breaker.opened,
            "retry_in_s": _in_s(breaker.retry_at, now) if breaker.state == "open" else None,
        },
        "in_flight": known.in_flight,
        "capacity": None if math.isinf(known.capacity) else known.capacity,
        "requests": known.requests,
        "errors": known.errors,
        "last_probe_s_ago": None if probed is None else round(now - probed, 3),
        "expected_in_s": None if known.takes_requests else _in_s(known.health.expected_at(now), now),
        "why": "drained by an operator" if known.drained else known.health.why,
    }


def _in_s(at: float, now: float) -> float:
    return round(max(0.0, at - now), 3)


def backends(live: Live, now: float) -> dict[str, Any]:
    return {"backends": [backend(known, now) for known in live.balancer.backends()]}


def status(live: Live) -> str:
    """ok: every backend takes requests, its breaker closed; degraded: one of each model does; down: else."""
    groups = [live.balancer.of(model.name) for model in live.settings.config.models]
    if not all(any(known.takes_requests for known in group) for group in groups):
        return "down"
    well = all(
        known.takes_requests and known.breaker.state == "closed" for group in groups for known in group
    )
    return "ok" if well else "degraded"


def ready(live: Live) -> bool:
    """Should a load balancer send new requests here?"""
    return not live.draining and any(known.takes_requests for known in live.balancer.backends())


def detailed(live: Live, now: float) -> dict[str, Any]:
    return {
        "status": status(live),
        "version": version(),
        "uptime_s": round(now - live.started_at, 3),
        "draining": live.draining,
        "warnings": list(live.warnings),
        "models": [
            {
                "name": model.name,
                "aliases": list(model.aliases),
                "tasks": list(model.tasks),
                "healthy": any(known.takes_requests for known in live.balancer.of(model.name)),
                "max_model_len": model.max_model_len,
                "waiting": live.admission.waiting(model.name),
            }
            for model in live.settings.config.models
        ],
        **backends(live, now),
        "near_limits": near_limits(live, now),
    }


def near_limits(live: Live, now: float) -> list[dict[str, Any]]:
    """Tenants that have nearly used up a day or a month, as this worker knows: for an admin's eyes alone."""
    limiter = live.tenants.limiter
    if limiter is None or (clock_s := limiter.ledger.clock_s(now)) is None:
        return []
    found: list[dict[str, Any]] = []
    for limit, left in limiter.ledger.known():
        span = limit.measure.span
        if span is None or not limit.scope.startswith("tenant:") or left > limit.amount * (1 - NEAR):
            continue
        tenant, end_s = limit.scope.partition(":")[2], window(span, clock_s).end_s
        row = {"tenant": tenant, "code": limit.code, "limit": limit.amount, "left": max(0, left)}
        found.append(row | {"reset_s": round(end_s - clock_s, 3)})
    found.sort(key=lambda row: row["left"] / row["limit"])
    return found[:NEAR_MAX]


def models(live: Live, allowed: frozenset[str] | None = None) -> dict[str, Any]:
    """OpenAI's list, every alias a model of its own as OpenAI's clients expect. `allowed`: None for all."""
    created = int(live.created)
    return {
        "object": "list",
        "data": [
            model_entry(live, model, name, created)
            for model in live.settings.config.models
            if allowed is None or model.name in allowed
            for name in (model.name, *model.aliases)
        ],
    }


def model_entry(live: Live, model: Model, name: str, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "infctl",
        "root": model.name,
        "aliases": list(model.aliases),
        "tasks": list(model.tasks),
        "paths": list(paths_of(model)),
        "max_model_len": model.max_model_len,
        "healthy": any(known.takes_requests for known in live.balancer.of(model.name)),
    }
