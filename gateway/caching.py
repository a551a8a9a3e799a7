"""The cache on the way of a call: an answer at once, or somebody else's in a moment, or "fetch it".

What is kept and who fetches is decided in policy/cache.py; here is the waiting.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from gateway import metrics
from gateway.config import Cache as Rules
from gateway.metrics import Metrics
from gateway.policy.cache import Answer, Cache, Flight, Follow, Hit, Key, Lead


class Caching:
    def __init__(self, rules: Rules, numbers: Metrics) -> None:
        self.cache = Cache(rules)
        self._numbers = numbers

    async def find(self, tenant: str, model: str, digest: bytes, deadline: float) -> Answer | Flight | None:
        """The answer; or the flight that the caller leads, and `landed` must follow; or None: keep nothing.

        Raises TimeoutError at the deadline. Cancelled: nobody else is the worse for it.
        """
        cache = self.cache
        owner = tenant if cache.rules.scope == "tenant" else ""
        key: Key = owner, model, digest
        while True:
            found = cache.ask(key, asyncio.get_running_loop().time())
            if isinstance(found, Hit):
                self._count(model, "hit")
                return found.answer
            if isinstance(found, Lead):
                self._count(model, "miss")
                return found.flight
            async with asyncio.timeout_at(deadline):
                answer, end = await self._follow(found)
            if answer is not None:
                self._count(model, "joined")
                return answer
            if end == "failed":
                self._count(model, "miss")
                return None

    def landed(self, flight: Flight, *, left: bool) -> None:
        """The call that leads has ended. `left`: for no reason that its followers share."""
        end: Literal["answered", "failed", "left"] = "left" if left else "failed"
        if flight.answer is not None:
            end = "answered"
        before = self.cache.evicted
        self.cache.landed(flight, end, asyncio.get_running_loop().time())
        if self.cache.evicted > before:
            self._numbers.count(metrics.CACHE_EVICTED, by=self.cache.evicted - before)

    @staticmethod
    async def _follow(found: Follow) -> tuple[Answer | None, str]:
        flight = found.flight
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        flight.waiting.append(wake)
        try:
            await done
        finally:
            flight.waiting.remove(wake)
        return flight.answer, flight.end

    def _count(self, model: str, outcome: str) -> None:
        self._numbers.count(metrics.CACHE, (model, outcome))
