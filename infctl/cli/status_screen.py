"""The table of `infctl status`, as lines. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable

from infctl.cli.facts import PlatformFacts, ServiceFact
from infctl.cli.text import Column, Paint, duration, number, size, table, unpainted

_STYLE = {
    "ready": "good",
    "loading": "warning",
    "waiting": "warning",
    "draining": "warning",
    "drained": "warning",
    "backoff": "error",
    "failed": "error",
    "down": "error",
}


def lines(facts: PlatformFacts, width: int, paint: Paint = unpainted) -> list[str]:
    """Title, one row a service, then why whatever is not well is not well, then the warnings."""
    rows = facts.services
    out = [_title(facts, width, paint), *table(_columns(rows, facts.now), width, paint)]
    notes = [f"{row.name}: {row.why}" for row in rows if row.why]
    running = any(row.pid is not None for row in rows)
    if not running:
        notes.append("nothing runs: infctl up starts it")
    elif not facts.gateway.reachable:
        notes.append(f"gateway: its counts are missing, {facts.gateway.why}")
    if notes:
        out += ["", *notes]
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
    def cells(of: Callable[[ServiceFact], str]) -> tuple[str, ...]:
        return tuple(of(row) for row in rows)

    return (
        Column("service", cells(lambda r: r.name)),
        Column("models", cells(lambda r: ", ".join(r.models) or "-"), sacrifice=4),
        Column("state", cells(lambda r: r.state), style=lambda state: _STYLE.get(state, "")),
        Column("pid", cells(lambda r: str(r.pid or "-")), right=True, sacrifice=5),
        Column("on", cells(lambda r: _device(r.device)), sacrifice=3),
        Column("memory", cells(lambda r: size(r.memory_bytes)), right=True),
        Column("in flight", cells(lambda r: number(r.in_flight)), right=True),
        Column("requests", cells(lambda r: number(r.requests)), right=True, sacrifice=1),
        Column("errors", cells(lambda r: number(r.errors)), right=True),
        Column("restarts", cells(lambda r: str(r.restarts)), right=True, sacrifice=2),
        Column(
            "up", cells(lambda r: "-" if r.started_at is None else duration(now - r.started_at)), right=True
        ),
    )


def _device(device: str) -> str:
    if not device:
        return "-"
    return device if device == "CPU" else f"GPU {device}"
