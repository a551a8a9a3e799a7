"""A service's record in observed.json: from the machine's unit, and back for the next supervisor. Pure.

Imports little: the supervisor lives on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infctl.engine.lifecycle import Unit, Wanted
from infctl.engine.procfs import Identity


def wanted(spec: dict[str, Any], *, spec_hash: str | None = None) -> Wanted:
    """What the machine needs to know of a wanted service; `spec_hash` where another one is known to run."""
    ready = spec.get("ready")
    return Wanted(
        name=spec["name"],
        spec_hash=spec.get("spec_hash", "") if spec_hash is None else spec_hash,
        files_hash=spec.get("files_hash", ""),
        nonce=spec.get("nonce", 0),
        start_group=spec.get("start_group"),
        after=tuple(spec.get("after", ())),
        ready_timeout_s=ready["timeout_s"] if ready else None,
        stop_timeout_s=spec.get("stop_timeout_s", 30.0),
    )


def record(name: str, unit: Unit, leader: Identity | None, spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """Times are monotonic seconds of this boot. `leader` may be dead: it may have left orphans."""
    running = unit.running
    return {
        "name": name,
        "state": unit.state,
        "pid": leader.pid if leader and unit.is_alive else None,
        "leader": leader.pid if leader else 0,
        "start_ticks": leader.start_ticks if leader else 0,
        "exe": leader.exe if leader else "",
        "started_mono": unit.started_at,
        "ready_mono": unit.ready_at,
        "next_start_mono": unit.next_start_at,
        "restarts": unit.restarts,
        "crashes": unit.crashes,
        "was_ready": unit.was_ready,
        "last_exit": unit.last_exit,
        "running": {
            "name": running.name,
            "spec_hash": running.spec_hash,
            "files_hash": running.files_hash,
            "nonce": running.nonce,
            "start_group": running.start_group,
            "after": list(running.after),
            "ready_timeout_s": running.ready_timeout_s,
            "stop_timeout_s": running.stop_timeout_s,
        },
        "spec": dict(spec) if spec is not None else {"name": name},
    }


def unit_of(record: Mapping[str, Any]) -> Unit:
    """As it was; one that was stopping is running again until the machine decides anew."""
    running = Wanted(**{**record["running"], "after": tuple(record["running"]["after"])})
    state = record["state"]
    if state == "stopping":
        state = "starting" if record["ready_mono"] is None else "ready"
    return Unit(
        target=running,
        running=running,
        state=state,
        started_at=record["started_mono"],
        ready_at=record["ready_mono"],
        restarts=record["restarts"],
        crashes=record["crashes"],
        was_ready=record["was_ready"],
        was_started=True,
        last_exit=record["last_exit"],
        next_start_at=record["next_start_mono"],
    )
