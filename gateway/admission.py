"""The capacity gate: a call gets a place at a backend at once, or waits for one, or is told to come later.

What is fair is decided in policy/queue.py, who is free in policy/balancer.py; here is the waiting. Places
that become free are handed on in the same step of the loop, so nobody overtakes.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from gateway import metrics
from gateway.config import Queue as Rules
from gateway.metrics import Metrics
from gateway.policy.balancer import FULL, Backend, Balancer, Full, Nobody, Place
from gateway.policy.queue import Queue, Waiter
from gateway.refusal import Refusal

RETRY_S: Final = 60
"""The longest that a client is told to wait for a place."""


class _Wish:
    """What a waiter waits for."""

    __slots__ = ("future", "key", "without")

    def __init__(self, key: bytes, without: tuple[Backend, ...]) -> None:
        self.key = key
        self.without = without
        self.future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()


class _Line:
    """Those who wait for one model."""

    __slots__ = ("pace_s", "queue", "served_at")

    def __init__(self, rules: Rules, now: float) -> None:
        self.queue: Queue[_Wish] = Queue(rules.waiting, fair=rules.fairness == "weighted")
        self.served_at = now
        self.pace_s: float | None = None
        """Between two places that became free, smoothed."""

    def served(self, now: float) -> None:
        took_s = now - self.served_at
        self.served_at = now
        self.pace_s = took_s if self.pace_s is None else self.pace_s + (took_s - self.pace_s) / 8

    def retry_s(self, rules: Rules, now: float) -> int:
        """When as many as wait now will have been served, at the pace of now."""
        expected_s = rules.timeout_s
        if self.pace_s is not None:  # a queue that has stood still for longer than that is slower now
            expected_s = len(self.queue) * max(self.pace_s, now - self.served_at)
        return min(max(1, math.ceil(expected_s)), RETRY_S)


class Admission:
    def __init__(self, balancer: Balancer, rules: Rules, numbers: Metrics) -> None:
        self._balancer = balancer
        self._numbers = numbers
        self.rules = rules
        """Of those who come from now on: a queue that is not empty keeps its limit and its order."""
        self.lines: dict[str, _Line] = {}
        """Only of models that somebody waits for."""

    def place(
        self, model: str, now: float, key: bytes, without: tuple[Backend, ...]
    ) -> Place | Full | Nobody:
        """A place, if there is one and nobody was there before."""
        if self.lines and not without and self.waiting(model):
            return FULL
        return self._balancer.choose(model, now, key, without)

    async def wait(
        self, model: str, tenant: str, key: bytes, without: tuple[Backend, ...], limit_s: float
    ) -> Place:
        """For a place, at most so long. Raises Refusal (503). Cancelled: it leaves the queue at once.

        Its code: `overloaded` when too many wait already, `queue_timeout` when the wait was too long.
        """
        loop, rules = asyncio.get_running_loop(), self.rules
        began = loop.time()
        line = self.lines.get(model)
        if line is None:
            line = self.lines[model] = _Line(rules, began)
        wish = _Wish(key, without)
        waiter = line.queue.put(wish, tenant, rules.weights.get(tenant, 1.0), again=bool(without))
        if waiter is None:
            self._numbers.count(metrics.QUEUE_REFUSED, (model, "full"))
            why = f"{line.queue.limit} calls already wait for {model}"
            raise _later("overloaded", why, line.retry_s(rules, began))
        try:
            async with asyncio.timeout(limit_s):
                return await wish.future
        except TimeoutError:
            if wish.future.done() and not wish.future.cancelled():
                return wish.future.result()  # it came in the same moment
            self._numbers.count(metrics.QUEUE_REFUSED, (model, "timeout"))
            why = f"No backend of {model} had a place within {limit_s:g} s"
            raise _later("queue_timeout", why, line.retry_s(rules, loop.time())) from None
        except asyncio.CancelledError:
            if wish.future.done() and not wish.future.cancelled():
                self.release(wish.future.result())
            raise
        finally:
            self._leave(model, line, waiter)
            self._numbers.observe(metrics.QUEUE_WAIT, (model,), loop.time() - began)

    def release(self, place: Place) -> None:
        """Of a call that was never sent."""
        self._balancer.release(place, "neutral", asyncio.get_running_loop().time(), failed=False)
        self.pump(place.backend.model)

    def pump(self, model: str) -> None:
        """Something changed: hands out what places there are."""
        line = self.lines.get(model)
        if line is None:
            return
        now = asyncio.get_running_loop().time()
        for waiter in line.queue.again():
            self._serve(model, line, waiter, now)
        while (first := line.queue.first()) is not None and self._serve(model, line, first, now):
            pass

    def pump_all(self) -> None:
        for model in tuple(self.lines):
            self.pump(model)

    def waiting(self, model: str) -> int:
        line = self.lines.get(model)
        return 0 if line is None else len(line.queue)

    def _serve(self, model: str, line: _Line, waiter: Waiter[_Wish], now: float) -> bool:
        wish = waiter.value
        if wish.future.done():  # it is leaving just now
            line.queue.remove(waiter)
            return True
        chosen = self._balancer.choose(model, now, wish.key, wish.without)
        if not isinstance(chosen, Place):
            return False
        if waiter is line.queue.first():
            line.queue.pop()
        else:
            line.queue.remove(waiter)
        line.served(now)
        wish.future.set_result(chosen)
        return True

    def _leave(self, model: str, line: _Line, waiter: Waiter[_Wish]) -> None:
        line.queue.remove(waiter)
        if not line.queue and self.lines.get(model) is line:
            del self.lines[model]


def _later(code: str, why: str, retry_s: int) -> Refusal:
    headers = b"retry-after: %d\r\n" % retry_s
    return Refusal(503, code, f"{why}. Try again in {retry_s} s.", headers=headers)
