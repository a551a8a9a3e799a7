"""Asks each backend how it is, each at its own pace: GET /health, and a real completion now and then.

A real completion (trial.py) is due where the configuration asks for them, where the last one failed, and
where a breaker has been open long enough: so no user's request has to be the one that tries.
Between the questions it looks whether one of the backends does worse than its like (policy/outlier.py).
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from gateway import metrics, trial
from gateway.attempts import breaker_changed
from gateway.client import UpstreamFailed
from gateway.config import Probes
from gateway.live import Live
from gateway.policy.balancer import Backend
from gateway.policy.breaker import Fact as Verdict
from gateway.policy.health import Fact

_FACTS: Final[dict[trial.Verdict, Verdict]] = {
    "answered": "success",
    "failed": "failure",
    "busy": "neutral",
}
TICK_S: Final = 0.1
"""How late a probe may be."""


async def run(live: Live) -> None:
    """Until cancelled. One probe a backend at a time; a hanging one delays no other."""
    loop = asyncio.get_running_loop()
    running: dict[Backend, asyncio.Task[None]] = {}
    try:
        while True:
            now = loop.time()
            for backend, task in tuple(running.items()):
                if task.done():
                    del running[backend]
                    if task.exception() is not None:
                        live.journal.event(
                            "error", "probe_failed", backend=backend.id, why=repr(task.exception())
                        )
                        backend.health.next_probe = now + live.settings.config.probes.interval_s
            compare(live, now)
            due = math.inf
            for backend in live.balancer.backends():
                if backend in running:
                    continue
                breaker = backend.breaker
                if breaker.state != "closed" and backend.takes_requests and breaker.lets_through(now):
                    running[backend] = loop.create_task(try_again(live, backend))
                elif backend.health.next_probe <= now:
                    running[backend] = loop.create_task(probe(live, backend))
                else:
                    due = min(due, backend.health.next_probe)
            await asyncio.sleep(min(max(due - now, 0), TICK_S) or TICK_S)
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)


def compare(live: Live, now: float) -> None:
    """Passes over who stands out among the backends of its model, where that is asked for."""
    if not live.outliers.rules.enabled:
        return
    groups = [live.balancer.of(model.name) for model in live.settings.config.models]
    for verdict in live.outliers.look(groups, now):
        backend, ejected = verdict.backend, verdict.pause_s is not None
        outcome = "ejected" if ejected else "kept"
        live.metrics.count(metrics.EJECTIONS, (backend.model, backend.id, verdict.why, outcome))
        live.journal.event(
            "warning",
            f"backend_{outcome}",
            backend=backend.id,
            model=backend.model,
            why=verdict.why,
            value=round(verdict.value, 3),
            others=round(verdict.others, 3),
            pause_s=verdict.pause_s,
        )
        if verdict.pause_s is not None and backend.breaker.eject(verdict.pause_s, now):
            breaker_changed(live, backend)


async def probe(live: Live, backend: Backend) -> None:
    """One question, and what follows from the answer."""
    settings = live.settings.config.probes
    try:
        fact, why = await _ask(live, backend, settings.timeout_s)
        if fact == "answered":
            fact, why = await _compute(live, backend, settings)
    except UpstreamFailed as failure:  # it was not asked at all: what was known of it still holds
        live.metrics.count(metrics.PROBES, (backend.id, "not_sent"))
        backend.health.next_probe = asyncio.get_running_loop().time() + settings.loading_interval_s
        live.journal.event("warning", "probe_not_sent", backend=backend.id, why=failure.reason)
        return
    live.metrics.count(metrics.PROBES, (backend.id, fact))
    now = asyncio.get_running_loop().time()
    before = backend.health.state
    if backend.health.probed(fact, why, now, settings.interval_s, settings.loading_interval_s):
        level = "info" if backend.health.state == "ready" else "warning"
        if backend.health.state == "ready":
            backend.breaker.reset()
            live.admission.pump(backend.model)
        live.journal.event(
            level,
            f"backend_{backend.health.state}",
            backend=backend.id,
            model=backend.model,
            was=before,
            why=backend.health.why,
        )


async def try_again(live: Live, backend: Backend) -> None:
    """The one request that a half-open breaker lets through, of our own."""
    settings, breaker, loop = live.settings.config.probes, backend.breaker, asyncio.get_running_loop()
    permit = breaker.take(loop.time())
    breaker_changed(live, backend)
    fact: Verdict = "neutral"
    try:
        verdict, _ = await trial.run(live, backend, settings.completion_timeout_s)
        live.metrics.count(metrics.PROBES, (backend.id, f"completion_{verdict}"))
        fact = _FACTS[verdict]
    except UpstreamFailed as failure:
        live.journal.event("warning", "probe_not_sent", backend=backend.id, why=failure.reason)
    finally:
        if breaker.report(permit, fact, loop.time()):
            breaker_changed(live, backend)


async def _compute(live: Live, backend: Backend, settings: Probes) -> tuple[Fact, str]:
    """A real completion, if one is due. Raises UpstreamFailed when what failed is ours."""
    health, now = backend.health, asyncio.get_running_loop().time()
    interval_s = settings.completion_interval_s
    if interval_s is None or (health.computes and now < health.next_completion):
        return "answered", ""
    verdict, why = await trial.run(live, backend, settings.completion_timeout_s)
    live.metrics.count(metrics.PROBES, (backend.id, f"completion_{verdict}"))
    health.next_completion = asyncio.get_running_loop().time() + interval_s
    if verdict != "busy":
        health.computes = verdict == "answered"
    return ("answered", "") if health.computes else ("unwell", why)


async def _ask(live: Live, backend: Backend, timeout_s: float) -> tuple[Fact, str]:
    """Raises UpstreamFailed when what failed is ours, so that nothing is known."""
    try:
        async with asyncio.timeout(timeout_s):
            try:
                reply = await live.client.get(backend, b"/health")
            except UpstreamFailed as failure:
                if not failure.reused:
                    raise
                reply = await live.client.get(
                    backend, b"/health"
                )  # the kept connection was just being closed
            try:
                await reply.read_all(64 * 1024)
            finally:
                reply.close()
    except TimeoutError:
        return "unwell", f"/health gave no answer within {timeout_s:g} s"
    except UpstreamFailed as failure:
        if failure.ours:
            raise
        fact: Fact = "unreachable" if failure.phase == "connect" else "unwell"
        return fact, f"/health: {failure.reason}"
    if reply.status == 200:
        return "answered", ""
    return "unwell", f"/health answered {reply.status}"
