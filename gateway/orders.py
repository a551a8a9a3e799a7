"""What a worker does when its parent says so: every worker does the same, then the gateway has done it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from gateway import reload
from gateway.control import drains
from gateway.control.everywhere import own_detailed, tallies
from gateway.live import Live
from gateway.net.server import Server
from gateway.policy.exchange import StoreDown
from gateway.workers.channel import FailedError
from gateway.workers.link import Link, report, sources_from_wire


class Orders:
    def __init__(self, live: Live, link: Link, server: Server, stop: asyncio.Event) -> None:
        """`stop`: set when the worker has to drain and end. What was wished earlier is done here."""
        self._live = live
        self._link = link
        self._server = server
        self._stop = stop
        for backend_id in link.post.drained:
            backend = live.balancer.get(backend_id)
            if backend is not None:
                backend.drained = True
        if link.post.refused:
            reload.refuse(live, link.post.refused)
        link.doings |= {
            "stop": stop.set,
            "hurry": self.hurry,
            "numbers": lambda: report(live.metrics.snapshot(), tallies(live)),
            "document": lambda: own_detailed(live),
            "story": lambda request_id: None if live.stories is None else live.stories.find(request_id),
            "set_drained": self._set_drained,
            "renew": self._renew,
            "tell": self._tell,
            "reload": self._reload,
            "refuse": lambda why: reload.refuse(live, why),
        }

    def hurry(self) -> None:
        """Stop, and drain no longer."""
        self._server.hurried = True
        self._stop.set()

    async def _set_drained(self, backend: str, *, drained: bool) -> None:
        known = self._live.balancer.get(backend)
        if known is not None:  # else a reload has just taken it away
            await drains.set_drained(self._live, known, drained=drained)

    async def _renew(self) -> int:
        """The generation of what is set at run time, as it is in force here now."""
        try:
            return await self._live.tenants.renew()
        except StoreDown as error:
            raise FailedError(str(error)) from None

    async def _tell(self) -> int:
        limiter = self._live.tenants.limiter
        try:
            if limiter is not None:
                await limiter.tell()
        except StoreDown as error:
            raise FailedError(str(error)) from None
        return 0

    def _reload(self, sources: dict[str, Any]) -> list[str]:
        """The backends that are gone."""
        read = sources_from_wire(sources)
        settings = self._link.settings_of(read, os.environ)
        now = asyncio.get_running_loop().time()
        return list(reload.take_over(self._live, self._server, settings, Path(read.file).name, now).gone)
