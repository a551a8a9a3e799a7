"""What `infctl status` knows: the supervisor's view, the gateway's and the system's, in one row a service.

Pure: `merge` is given the snapshots and the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from infctl.api import Backend, Health
from infctl.cli import processes
from infctl.cli.text import duration
from infctl.engine.model import Observed, ObservedService
from infctl.stack import Service, Stack


@dataclass(frozen=True, slots=True)
class ServiceFact:
    name: str
    role: str
    """engine, gateway, edge, supervisor."""
    models: tuple[str, ...]
    state: str
    """ready, loading, waiting, backoff, failed, stopped, stopping, down, drained, draining, unmanaged."""
    pid: int | None
    device: str
    """`CPU`, or the GPU's number."""
    memory_bytes: int | None
    in_flight: int | None
    requests: int | None
    errors: int | None
    restarts: int
    started_at: float | None
    """Seconds since the epoch."""
    why: str

    def as_data(self) -> dict[str, Any]:
        return {**asdict(self), "models": list(self.models)}


@dataclass(frozen=True, slots=True)
class GatewayFact:
    url: str
    reachable: bool
    status: str
    """ok, degraded, down; `unknown` when it cannot be asked."""
    version: str
    draining: bool
    why: str
    """Why it cannot be asked."""


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    name: str
    runtime: str
    supervised: bool
    now: float
    """Seconds since the epoch."""
    gateway: GatewayFact
    services: tuple[ServiceFact, ...]
    warnings: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "runtime": self.runtime,
            "supervised": self.supervised,
            "supervisor": next(_supervisor_data(row) for row in self.services if row.role == "supervisor"),
            "now": self.now,
            "gateway": asdict(self.gateway),
            "services": [row.as_data() for row in self.services if row.role != "supervisor"],
            "warnings": list(self.warnings),
        }


def _supervisor_data(row: ServiceFact) -> dict[str, Any]:
    return {"pid": row.pid, "state": row.state, "memory_bytes": row.memory_bytes, "why": row.why}


def merge(
    stack: Stack,
    observed: Observed,
    asked: Health | str,
    *,
    gateway_url: str,
    running: Mapping[int, processes.Process],
    supervisors: Sequence[int],
    warnings: Iterable[str],
    now: float,
) -> PlatformFacts:
    """`asked`: what the gateway said, or why it said nothing."""
    health = asked if isinstance(asked, Health) else None
    by_port = {_port(backend.url): backend for backend in health.backends} if health else {}
    rows = []
    for service in stack.services:
        seen = observed.service(service.name)
        backend = by_port.get(service.listen[0][1]) if service.role == "engine" and service.listen else None
        rows.append(_row(service, seen, backend, health, running, now))
    known = {service.name for service in stack.services}
    rows += [_stray(seen, running, now) for seen in observed.services if seen.name not in known]
    rows.append(_supervisor(observed, supervisors, running))
    told = tuple(dict.fromkeys((*warnings, *(health.warnings if health else ()))))
    return PlatformFacts(
        name=stack.name,
        runtime=stack.runtime,
        supervised=observed.supervised,
        now=now,
        gateway=GatewayFact(
            url=gateway_url,
            reachable=health is not None,
            status=health.status if health else "unknown",
            version=health.version if health else "",
            draining=health.draining if health else False,
            why="" if health else str(asked),
        ),
        services=tuple(rows),
        warnings=told,
    )


_WORDS = {"starting": "loading"}
"""The engine's states in an operator's words."""


def _row(
    service: Service,
    seen: ObservedService | None,
    backend: Backend | None,
    health: Health | None,
    running: Mapping[int, processes.Process],
    now: float,
) -> ServiceFact:
    state = _WORDS.get(seen.state, seen.state) if seen else "stopped"
    why = _engine_why(seen, now)
    if backend is not None and state == "ready" and backend.state != "ready":
        state, why = backend.state, backend.why or why
    counts: tuple[int | None, int | None, int | None] = (None, None, None)
    if backend is not None:
        counts = (backend.in_flight, backend.requests, backend.errors)
    elif service.role == "gateway" and health is not None:
        counts = (
            sum(b.in_flight for b in health.backends),
            sum(b.requests for b in health.backends),
            sum(b.errors for b in health.backends),
        )
    pid = seen.pid if seen else None
    return ServiceFact(
        name=service.name,
        role=service.role,
        models=service.models,
        state=state,
        pid=pid,
        device=(service.gpu or "CPU") if service.role == "engine" else "",
        memory_bytes=processes.rss_bytes(pid, running),
        in_flight=counts[0],
        requests=counts[1],
        errors=counts[2],
        restarts=seen.restarts if seen else 0,
        started_at=seen.started_at if seen and pid is not None else None,
        why=why,
    )


def _stray(seen: ObservedService, running: Mapping[int, processes.Process], now: float) -> ServiceFact:
    return ServiceFact(
        name=seen.name,
        role="engine",
        models=(),
        state=_WORDS.get(seen.state, seen.state),
        pid=seen.pid,
        device="",
        memory_bytes=processes.rss_bytes(seen.pid, running),
        in_flight=None,
        requests=None,
        errors=None,
        restarts=seen.restarts,
        started_at=seen.started_at if seen.pid is not None else None,
        why=_engine_why(seen, now) or "no longer in the profile: infctl up removes it",
    )


def _supervisor(
    observed: Observed, pids: Sequence[int], running: Mapping[int, processes.Process]
) -> ServiceFact:
    alive = [pid for pid in pids if pid in running]
    loose = any(service.pid is not None for service in observed.services)
    why = (
        "" if observed.supervised or not loose else "nobody restarts what crashes: infctl up starts it again"
    )
    return ServiceFact(
        name="supervisor",
        role="supervisor",
        models=(),
        state="ready" if observed.supervised else "stopped",
        pid=alive[0] if alive else None,
        device="",
        memory_bytes=sum(running[pid].rss_bytes for pid in alive) if alive else None,
        in_flight=None,
        requests=None,
        errors=None,
        restarts=0,
        started_at=None,
        why=why,
    )


def _engine_why(seen: ObservedService | None, now: float) -> str:
    if seen is None or seen.state in {"ready", "starting", "waiting"}:
        return ""
    parts = [seen.last_exit] if seen.last_exit else []
    if seen.next_start_at is not None and seen.next_start_at > now:
        parts.append(f"next try in {duration(seen.next_start_at - now)}")
    return ", ".join(parts)


def _port(url: str) -> int | None:
    _, _, port = url.rstrip("/").rpartition(":")
    return int(port) if port.isdigit() else None
