"""What containers use at this moment, as the engine counts it."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from infctl.engine.docker.client import Client
from infctl.engine.docker.observed import Seen
from infctl.engine.docker.refusals import told
from infctl.errors import EngineError

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Usage:
    memory_bytes: int
    """Without the pages of files it has read."""
    cpu_s: float
    """Since its start, of all its processes."""
    processes: int


def usage(client: Client, containers: Iterable[Seen]) -> dict[str, Usage]:
    """By service; several of one service are added up. One that ends meanwhile is left out."""
    running = [one for one in containers if one.status == "running"]
    found: dict[str, Usage] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one, used in zip(running, pool.map(lambda one: _usage(client, one), running), strict=True):
            if used is not None:
                before = found.get(one.service, Usage(0, 0.0, 0))
                found[one.service] = Usage(
                    before.memory_bytes + used.memory_bytes,
                    before.cpu_s + used.cpu_s,
                    before.processes + used.processes,
                )
    return found


def _usage(client: Client, container: Seen) -> Usage | None:
    try:
        with told(f"{container.name} cannot be measured"):
            said = client.api.stats(container.id, stream=False, one_shot=True)
    except EngineError:
        return None
    memory = said.get("memory_stats") or {}
    cache = (memory.get("stats") or {}).get("inactive_file") or 0
    cpu = ((said.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0
    return Usage(
        memory_bytes=max(0, int(memory.get("usage") or 0) - int(cache)),
        cpu_s=cpu / 1e9,
        processes=int((said.get("pids_stats") or {}).get("current") or 0),
    )
