"""One look at everything `infctl status` shows: the engine, the gateway, each vLLM, /proc, the GPUs' driver.

Never raises for something that is merely down.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.cli import facts, load, processes
from infctl.cli.control import admin_api
from infctl.errors import GatewayError, InfctlError

if TYPE_CHECKING:
    from infctl.api import Health
    from infctl.cli.load import Load
    from infctl.cli.remains import Remains
    from infctl.engine.model import Observed
    from infctl.stack import Stack

PAGE_S = 3.0
"""For each engine's metrics."""
RATE_S = 0.5
"""Between two looks at the tokens, where there was none before."""
_CONTAINER = re.compile(r"[0-9a-f]{64}")


class Looking:
    """Remembers the tokens of the look before: a rate needs two."""

    def __init__(self, remains: Remains, *, engines: bool = True, rates: bool = False) -> None:
        """`engines`: ask each vLLM as well. `rates`: twice in the first look, which takes RATE_S longer."""
        self._remains = remains
        self._engines = engines
        self._rates = rates
        self._before: dict[str, Load] = {}

    def look(self, observed: Observed | None = None) -> facts.PlatformFacts:
        """`observed`: what was found a moment ago, where there was a look already."""
        remains = self._remains
        stack = remains.stack()
        reach = remains.reach(stack)
        observed = observed or remains.engine.observe()
        asked: Health | str
        try:
            with admin_api(remains, reach) as api:
                asked = api.health()
        except GatewayError as error:
            asked = error.message
        last = remains.last_entry()
        known = last.applied.planned if last is not None and last.applied is not None else ()
        table, main_bytes = _memory(remains)
        uses = facts.Uses(
            running=table,
            supervisors=remains.supervisor_pids(),
            main_bytes=main_bytes,
            gpu_bytes=gpu_bytes(stack, observed),
            loads=self._loads(stack, observed) if self._engines else {},
            planned={one.service: one for one in known},
        )
        return facts.merge(
            stack,
            observed,
            asked,
            uses,
            gateway_url=reach.gateway,
            warnings=remains.warnings(),
            now=time.time(),
        )

    def _loads(self, stack: Stack, observed: Observed) -> Mapping[str, Load]:
        ready = {service.name for service in observed.services if service.state == "ready"}
        urls = {
            service.name: service.ready.url.removesuffix("/health")
            for service in stack.services
            if service.role == "engine" and service.ready is not None and service.name in ready
        }
        twice = self._rates and not self._before
        job = {
            "asks": load.asks(urls, PAGE_S),
            "rounds": 2 if twice else 1,
            "gap_s": RATE_S,
            "keep": load.KEEP,
        }
        if not urls:
            return {}
        try:
            found = load.of_rounds(self._remains.ask(job), self._before)
        except InfctlError:
            return {}
        self._before |= found
        return found


def gpu_bytes(stack: Stack, observed: Observed) -> dict[str, int]:
    """Service -> what the driver of this machine says its processes hold; nothing where it is not asked."""
    if not any(service.gpu for service in stack.services):
        return {}
    from infctl.gpus import held

    try:
        driver = held.look(timeout_s=PAGE_S)
    except TimeoutError:
        return {}
    if driver is None:
        return {}
    table = processes.table()
    owner = {
        pid: service.name
        for service in observed.services
        if service.pid is not None
        for pid in (*processes.family(service.pid, table), *_same_container(service.pid, table))
    }
    found: dict[str, int] = {}
    for holder in (holder for card in driver.holders.values() for holder in card):
        name = owner.get(holder.pid)
        if name is not None and holder.bytes is not None:
            found[name] = found.get(name, 0) + holder.bytes
    return found


def _memory(remains: Remains) -> tuple[dict[int, processes.Process], dict[str, int]]:
    """(processes of this machine, main memory by service where those tell nothing).

    The Docker engine is asked only for another machine: it takes a second to count.
    """
    docker = remains.docker
    if docker is None or docker.client.is_local:
        return processes.table(), {}
    return {}, {name: used.memory_bytes for name, used in docker.usage().items()}


def _same_container(pid: int, table: Mapping[int, processes.Process]) -> list[int]:
    """All processes of the container that `pid` is the first of; none where it is in no container."""
    own = _container(pid)
    return [other for other in table if own and _container(other) == own]


def _container(pid: int) -> str:
    try:
        found = _CONTAINER.search(Path(f"/proc/{pid}/cgroup").read_text("utf-8"))
    except OSError:
        return ""
    return found[0] if found else ""
