"""The table of `infctl status`, as lines. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable

from infctl.cli.facts import PlatformFacts, ServiceFact
from infctl.cli.text import Column, Paint, duration, number, size, table, unpainted
from infctl.shown import shown

_STYLE = {
    "ready": "good",
    "loading": "warning",
    "waiting": "warning",
    "draining": "warning",
    "drained": "warning",
    "unhealthy": "error",
    "backoff": "error",
    "failed": "error",
    "down": "error",
}


def lines(facts: PlatformFacts, width: int, paint: Paint = unpainted) -> list[str]:
    """Title, one row a service, then why whatever is not well is not well, then the warnings."""
    rows = facts.services
    out = [_title(facts, width, paint), *table(_columns(rows, facts.now), width, paint)]
    notes = [*(f"{row.name}: {shown(row.why, 300)}" for row in rows if row.why), *facts.notes]
    running = any(row.pid is not None for row in rows)
    if not running:
        notes.append("nothing runs: infctl up starts it")
    elif not facts.gateway.reachable:
        notes.append(f"gateway: its counts are missing, {facts.gateway.why}")
    if notes:
        out += ["", *notes]
    if facts.near_limits:
        from infctl.cli.quota_screen import near

        first, *rest = near(facts.near_limits)
        lead = "tenants near a limit  "
        out += ["", f"{lead}{first}", *(" " * len(lead) + text for text in rest)]
    if facts.warnings:
        out += ["", *(f"{paint('warning:', 'warning')} {text}" for text in facts.warnings)]
    return out


def _title(facts: PlatformFacts, width: int, paint: Paint) -> str:
    services = [row for row in facts.services if row.role != "supervisor"]
    ready = sum(row.state == "ready" for row in services)
    since = min((row.started_at for row in services if row.started_at is not None), default=None)
    up = f"up {duration(facts.now - since)}" if since is not None else "not running"
    clock = time.strftime("%H:%M:%S", time.localtime(facts.now))
    left = f"{facts.name} · {ready} of {len(services)} ready"
    right = f"{up} · {clock}"
    gap = " " * max(2, min(width, 110) - len(left) - len(right))
    return f"{paint(left, 'bold')}{gap}{right}"


def _columns(rows: tuple[ServiceFact, ...], now: float) -> tuple[Column, ...]:
    """What nobody has is left out: KV caches of encoders, containers of processes."""

    def cells(of: Callable[[ServiceFact], str]) -> tuple[str, ...]:
        return tuple(of(row) for row in rows)

    columns = (
        Column("service", cells(lambda r: r.name)),
        Column("models", cells(lambda r: ", ".join(r.models) or "-"), sacrifice=4),
        Column("state", cells(lambda r: r.state), style=lambda state: _STYLE.get(state, "")),
        Column("pid", cells(lambda r: "-" if r.container else str(r.pid or "-")), right=True, sacrifice=5),
        Column("on", cells(lambda r: _device(r.device)), sacrifice=3),
        Column("memory", cells(_memory), right=True),
        Column("KV", cells(lambda r: _share(r.kv_use)), right=True, sacrifice=1),
        Column("in flight", cells(lambda r: number(r.in_flight)), right=True),
        Column("queue", cells(lambda r: number(r.waiting)), right=True, sacrifice=2),
        Column("tok/s", cells(lambda r: _rate(r.tokens_per_s)), right=True, sacrifice=2),
        Column("requests", cells(lambda r: number(r.requests)), right=True, sacrifice=3),
        Column("errors", cells(lambda r: number(r.errors)), right=True),
        Column("restarts", cells(lambda r: str(r.restarts)), right=True, sacrifice=3),
        Column(
            "up", cells(lambda r: "-" if r.started_at is None else duration(now - r.started_at)), right=True
        ),
        Column("container", cells(lambda r: r.container or "-"), sacrifice=6),
        Column("image", cells(lambda r: r.image.partition("@")[0] or "-"), sacrifice=7),
    )
    optional = {"pid", "KV", "queue", "tok/s", "container", "image"}
    return tuple(c for c in columns if c.title not in optional or any(cell != "-" for cell in c.cells))


def _memory(row: ServiceFact) -> str:
    """`19.6/19.8 GiB`: used and planned."""
    if row.planned_bytes is None or row.memory_bytes is None:
        return size(row.memory_bytes)
    return f"{row.memory_bytes / 1024**3:.1f}/{size(row.planned_bytes)}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}"


def _device(device: str) -> str:
    if not device:
        return "-"
    return device if device == "CPU" else f"GPU {device}"
