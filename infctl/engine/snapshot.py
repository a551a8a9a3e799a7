"""What is: the supervisor's record, held against the processes that really exist."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from infctl.engine import codec, procfs
from infctl.engine.model import Observed, ObservedService, State
from infctl.stack import Stack


def observe(home: str, book: Mapping[str, Any] | None, note: str, *, supervised: bool) -> Observed:
    """`book` is observed.json, if there is one; `note` what was wrong with it."""
    notes = [note] if note else []
    services: list[ObservedService] = []
    if book is not None:
        notes += book["notes"]
        same_boot = book["boot_id"] == procfs.boot_id()
        if not same_boot and any(r["pid"] for r in book["services"]):
            notes.append("the machine was restarted since the services ran")
        services = [_observed(r, book["epoch"], same_boot=same_boot) for r in book["services"]]
    known = {s.name for s in services}
    for pid, name in procfs.marked(home).items():
        # Its record was lost; the supervisor takes it over or kills it.
        found = procfs.look(pid)
        leads = found is not None and found.session == pid
        if leads and name != procfs.SUPERVISOR and name not in known:
            known.add(name)
            services.append(ObservedService(name, "starting", pid=pid))
    return Observed(supervised=supervised, services=tuple(services), notes=tuple(notes))


def own_processes(home: str, book: Mapping[str, Any] | None, stack: Stack | None) -> set[int]:
    """Everything that belongs to this platform: by mark, by record, by the argv of `stack`'s services."""
    found = set(procfs.marked(home))
    same_boot = book is not None and book["boot_id"] == procfs.boot_id()
    for record in book["services"] if book is not None and same_boot else ():
        leader = procfs.Identity(record["leader"], record["start_ticks"], record["exe"])
        argv = record["spec"].get("argv", ())
        found |= {p.pid for p in procfs.members(home, record["name"], leader, argv)}
    for service in stack.services if stack is not None else ():
        found |= {p.pid for p in procfs.members(home, service.name, None, service.argv)}
    return found


def is_done(wish: Mapping[str, Any], book: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Every service meant is ready as wanted, and, where all are meant, nothing else is left."""
    found = {r["name"]: r for r in book["services"]}
    meant = [s for s in wish["services"] if not names or s["name"] in names]
    if not names and found.keys() != {s["name"] for s in meant}:
        return False
    fields = ("spec_hash", "files_hash", "nonce")
    return all(
        s["name"] in found
        and found[s["name"]]["state"] == "ready"
        and all(found[s["name"]]["running"][field] == s[field] for field in fields)
        for s in meant
    )


def kill_supervisors(home: str) -> None:
    """Both of them; the services go on."""
    for pid, name in procfs.marked(home).items():
        process = procfs.look(pid)
        if name == procfs.SUPERVISOR and process is not None:
            procfs.send(process, signal.SIGKILL)


def _observed(record: Mapping[str, Any], epoch: float, *, same_boot: bool) -> ObservedService:
    alive = False
    if record["pid"] is not None and same_boot:
        alive = procfs.is_running(procfs.Identity(record["pid"], record["start_ticks"]))
    state: State = record["state"] if alive or record["pid"] is None else "stopped"
    if not same_boot and state != "failed":
        state = "stopped"
    spec = record["spec"]
    ready = record["ready_mono"]
    due = record["next_start_mono"]
    return ObservedService(
        name=record["name"],
        state=state,
        pid=record["pid"] if alive else None,
        started_at=epoch + record["started_mono"] if alive else None,
        ready_at=epoch + ready if alive and ready is not None else None,
        restarts=record["restarts"],
        spec_hash=record["running"]["spec_hash"],
        files_hash=record["running"]["files_hash"],
        last_exit=record["last_exit"],
        next_start_at=epoch + due if due is not None else None,
        running=codec.service_from_json(spec) if "argv" in spec else None,
        secret_digests=tuple(sorted(spec.get("digests", {}).items())),
    )
