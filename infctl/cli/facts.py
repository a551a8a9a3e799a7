"""What `infctl status` knows: the engine's view, the gateway's, each vLLM's, the system's; a row a service.

Pure: `merge` is given the snapshots and the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infctl.api import Backend, Health
from infctl.cli import processes
from infctl.cli.load import Load
from infctl.cli.text import duration
from infctl.engine.model import Observed, ObservedService
from infctl.history.applied import Planned
from infctl.stack import Service, Stack


@dataclass(frozen=True, slots=True)
class ServiceFact:
    name: str
    role: str
    """engine, gateway, edge, monitoring, supervisor; prepare and weights where they failed."""
    models: tuple[str, ...]
    state: str
    """ready, loading, waiting, unhealthy, backoff, failed, stopped, stopping, down, drained, draining."""
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
    container: str = ""
    """Its name; empty for a process."""
    image: str = ""
    memory_of: str = ""
    """gpu, main: where `memory_bytes` are; empty: they are not known."""
    planned_bytes: int | None = None
    """Of the same memory, where it was planned."""
    kv_use: float | None = None
    """0 to 1."""
    waiting: int | None = None
    tokens_per_s: float | None = None
    backend: str = ""
    """Its name at the gateway, where that knows it."""
    breaker: str = ""
    """closed, open, half_open; empty: not known."""
    capacity: int | None = None
    """Requests at once; None: not known."""
    expected_in_s: float | None = None
    """Until one that is loading is ready."""

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
    notes: tuple[str, ...] = ()
    """What the engine found odd."""
    near_limits: tuple[Mapping[str, Any], ...] = ()
    """Tenants that have used 90 % of a quota."""

    def as_data(self) -> dict[str, Any]:
        watch = next((row for row in self.services if row.role == "supervisor"), None)
        return {
            "name": self.name,
            "runtime": self.runtime,
            "supervised": self.supervised,
            "supervisor": _supervisor_data(watch),
            "now": self.now,
            "gateway": asdict(self.gateway),
            "services": [row.as_data() for row in self.services if row.role != "supervisor"],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "near_limits": [dict(row) for row in self.near_limits],
        }


@dataclass(frozen=True, slots=True)
class Uses:
    """What is known beside states and counts; by service where nothing else is said."""

    running: Mapping[int, processes.Process] = field(default_factory=dict)
    """Processes of this machine, by id."""
    supervisors: Sequence[int] = ()
    main_bytes: Mapping[str, int] = field(default_factory=dict)
    """Of containers, as the Docker engine counts them."""
    gpu_bytes: Mapping[str, int] = field(default_factory=dict)
    loads: Mapping[str, Load] = field(default_factory=dict)
    planned: Mapping[str, Planned] = field(default_factory=dict)


def merge(
    stack: Stack,
    observed: Observed,
    asked: Health | str,
    uses: Uses,
    *,
    gateway_url: str,
    warnings: Iterable[str],
    now: float,
) -> PlatformFacts:
    """`asked`: what the gateway said, or why it said nothing."""
    health = asked if isinstance(asked, Health) else None
    rows = [
        _row(service, observed.service(service.name), _backend(service, health), health, uses, now)
        for service in stack.services
    ]
    known = {service.name for service in stack.services}
    roles = dict(_other_roles(stack))
    rows += [_other(s, roles.get(s.name), uses, now) for s in observed.services if s.name not in known]
    if stack.runtime == "process":
        rows.append(_supervisor(observed, uses))
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
        notes=observed.notes,
        near_limits=health.near_limits if health else (),
    )


# Private

_WORDS = {"starting": "loading"}
"""The engine's states in an operator's words."""


def _row(
    service: Service,
    seen: ObservedService | None,
    backend: Backend | None,
    health: Health | None,
    uses: Uses,
    now: float,
) -> ServiceFact:
    state = _WORDS.get(seen.state, seen.state) if seen else "stopped"
    why = _engine_why(seen, now)
    if backend is not None and state == "ready":
        if backend.state != "ready":
            state, why = backend.state, backend.why or why
        elif backend.breaker != "closed":
            why = _breaker(backend)
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
    used, where = _memory(service.name, pid, uses)
    load = uses.loads.get(service.name, Load())
    plan = uses.planned.get(service.name)
    return ServiceFact(
        name=service.name,
        role=service.role,
        models=service.models,
        state=state,
        pid=pid,
        device=(service.gpu or "CPU") if service.role == "engine" else "",
        memory_bytes=used,
        in_flight=counts[0],
        requests=counts[1],
        errors=counts[2],
        restarts=seen.restarts if seen else 0,
        started_at=seen.started_at if seen and pid is not None else None,
        why=why,
        container=seen.container if seen else "",
        image=seen.image if seen else "",
        memory_of=where,
        planned_bytes=plan.memory_bytes if plan and (where == "gpu") == (service.gpu is not None) else None,
        kv_use=load.kv_use,
        waiting=load.waiting,
        tokens_per_s=load.tokens_per_s,
        backend=backend.id if backend is not None else "",
        breaker=backend.breaker if backend is not None else "",
        capacity=backend.capacity if backend is not None else None,
        expected_in_s=backend.expected_in_s if backend is not None else None,
    )


def _breaker(backend: Backend) -> str:
    when = "" if backend.retry_in_s is None else f", tried again in {duration(backend.retry_in_s)}"
    return f"its breaker is {backend.breaker.replace('_', ' ')}{when}"


def _other(seen: ObservedService, role: str | None, uses: Uses, now: float) -> ServiceFact:
    """The monitoring's, or what is no longer wanted."""
    used, where = _memory(seen.name, seen.pid, uses)
    gone = "" if role is not None else "no longer in the profile: infctl up removes it"
    return ServiceFact(
        name=seen.name,
        role=role or "engine",
        models=(),
        state=_WORDS.get(seen.state, seen.state),
        pid=seen.pid,
        device="",
        memory_bytes=used,
        in_flight=None,
        requests=None,
        errors=None,
        restarts=seen.restarts,
        started_at=seen.started_at if seen.pid is not None else None,
        why=_engine_why(seen, now) or gone,
        container=seen.container,
        image=seen.image,
        memory_of=where,
    )


def _other_roles(stack: Stack) -> Iterator[tuple[str, str]]:
    for project in stack.projects:
        yield from ((container.service, container.role) for container in project.containers)


def _memory(name: str, pid: int | None, uses: Uses) -> tuple[int | None, str]:
    """(bytes, of which memory)."""
    if name in uses.gpu_bytes:
        return uses.gpu_bytes[name], "gpu"
    main = uses.main_bytes.get(name)
    if main is None:
        main = processes.rss_bytes(pid, uses.running)
    return main, "main" if main is not None else ""


def _backend(service: Service, health: Health | None) -> Backend | None:
    """The gateway names an engine by its container; here it is also known by its port."""
    if service.role != "engine" or health is None:
        return None
    port = service.listen[0][1] if service.listen else None
    names = (service.name, f"vllm-{service.name}")
    return next((b for b in health.backends if b.id in names or (port and _port(b.url) == port)), None)


def _supervisor(observed: Observed, uses: Uses) -> ServiceFact:
    alive = [pid for pid in uses.supervisors if pid in uses.running]
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
        memory_bytes=sum(uses.running[pid].rss_bytes for pid in alive) if alive else None,
        in_flight=None,
        requests=None,
        errors=None,
        restarts=0,
        started_at=None,
        why=why,
        memory_of="main" if alive else "",
    )


def _supervisor_data(row: ServiceFact | None) -> dict[str, Any]:
    """Of containers the Docker engine is it."""
    if row is None:
        return {"pid": None, "state": "ready", "memory_bytes": None, "why": ""}
    return {"pid": row.pid, "state": row.state, "memory_bytes": row.memory_bytes, "why": row.why}


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
