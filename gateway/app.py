"""The wiring of one gateway process: start, signals, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway import metrics, probes, reload
from gateway.admission import Admission
from gateway.caching import Caching
from gateway.client import Client
from gateway.control.plane import Plane
from gateway.live import Live, Settings
from gateway.log import FLUSH_S, Journal
from gateway.metrics import Metrics, Sample
from gateway.net.server import Exchange, Refused, Server
from gateway.policy.balancer import Balancer
from gateway.policy.breaker import STATES as BREAKER_STATES
from gateway.policy.hedge import Hedges
from gateway.policy.retry import Retries
from gateway.serve import Serve
from gateway.version import version

PORT_TAKEN: Final = 5
LAG_S: Final = 0.25
"""Between two looks at the loop's lag."""
STATES: Final = ("ready", "loading", "down", "drained", "draining")


def run(settings: Settings, path: Path) -> int:
    """Serves until SIGTERM or SIGINT. The exit code: 0, or PORT_TAKEN."""
    try:
        import uvloop  # noqa: PLC0415 - not there on Windows

        loop_factory = uvloop.new_event_loop
    except ImportError:
        loop_factory = None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_main(settings, path))


async def _main(settings: Settings, path: Path) -> int:
    loop = asyncio.get_running_loop()
    config = settings.config
    wall = time.time()
    balancer, numbers = Balancer(random.random), Metrics()
    live = Live(
        settings=settings,
        balancer=balancer,
        admission=Admission(balancer, config.queue, numbers),
        retries=Retries(config.retries),
        hedges=Hedges(config.hedging),
        caching=Caching(config.cache, numbers),
        client=Client(config.upstream, config.timeouts),
        metrics=numbers,
        journal=Journal(config.log, time.time),
        started_at=loop.time(),
        created=wall,
        warnings=reload.standing_warnings(settings),
    )
    journal = live.journal
    reload.apply(live, settings, loop.time())
    server = Server(
        Serve(live, Plane(live).answer),
        config.http,
        config.timeouts,
        on_refused=lambda peer, refused, request_id: _refused(live, peer, refused, request_id),
        on_error=lambda exchange, error: _handler_failed(journal, exchange, error),
    )
    live.metrics.ask(lambda: _gauges(live, server))
    stop = asyncio.Event()

    def interrupted() -> None:
        """A second Ctrl-C is somebody who will not wait for the drain."""
        server.hurried = stop.is_set()
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    live.reload = lambda: reload.reload(live, server, path, os.environ, loop.time())
    loop.add_signal_handler(signal.SIGHUP, live.reload)
    try:
        await server.listen(config.listen.host, config.listen.port)
    except OSError as error:
        journal.event(
            "error", "not_started", why=error.strerror, address=f"{config.listen.host}:{config.listen.port}"
        )
        journal.close()
        return PORT_TAKEN
    journal.event(
        "info",
        "started",
        version=version(),
        address=f"{config.listen.host}:{server.port}",
        models=[model.name for model in config.models],
        warnings=live.warnings,
        pid=os.getpid(),
    )
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # a request makes little garbage in circles: look for it seldom
    tasks = [loop.create_task(probes.run(live)), loop.create_task(_housekeeping(live))]
    await stop.wait()
    live.draining = True
    limit_s = live.settings.config.timeouts.drain_s
    journal.event("info", "draining", in_flight=server.active, limit_s=limit_s)
    cut = await server.drain(limit_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await live.client.close()
    journal.event("info" if not cut else "warning", "stopped", cut=cut)
    journal.close()
    return 0


async def _housekeeping(live: Live) -> None:
    """Flushes the log, measures the loop's lag, closes pools that nobody needs."""
    loop = asyncio.get_running_loop()
    flushed, lost = loop.time(), 0
    while True:
        wanted = loop.time() + LAG_S
        await asyncio.sleep(LAG_S)
        now = loop.time()
        live.metrics.observe(metrics.LAG, (), max(0.0, now - wanted))
        if now - flushed >= FLUSH_S:
            flushed = now
            live.journal.flush()
            if live.journal.lost > lost:
                live.metrics.count(metrics.LOST_LINES, by=live.journal.lost - lost)
                lost = live.journal.lost
        if live.leaving:
            await reload.forget_idle(live)


def _gauges(live: Live, server: Server) -> Iterator[Sample]:
    yield metrics.CONNECTIONS, (), server.connections
    yield metrics.STARTED, (), live.created
    yield metrics.BUILD, (version(),), 1
    yield metrics.CACHE_ENTRIES, (), len(live.caching.cache)
    yield metrics.CACHE_BYTES, (), live.caching.cache.bytes
    for model in live.settings.config.models:
        yield metrics.QUEUE_WAITING, (model.name,), live.admission.waiting(model.name)
    for backend in live.balancer.backends():
        yield metrics.IN_FLIGHT, (backend.model, backend.id), backend.in_flight
        where = backend.model, backend.id
        for state in STATES:
            yield metrics.BACKEND_STATE, (*where, state), float(backend.state == state)
        for breaker in BREAKER_STATES:
            yield metrics.BREAKER_STATE, (*where, breaker), float(backend.breaker.state == breaker)


def _refused(live: Live, peer: str, refused: Refused, request_id: str) -> None:
    """What the guard refused before there was a request."""
    tenant = live.metrics.tenant(peer)
    live.metrics.count(metrics.REQUESTS, (tenant, metrics.OTHER, "", "refused", refused.code))
    if live.journal.requests:
        live.journal.request(
            {
                "ts": live.journal.now(),
                "level": "info",
                "event": "refused",
                "request_id": request_id,
                "tenant": peer,
                "status": refused.status,
                "outcome": "refused",
                "reason": refused.code,
                "why": refused.message,
            }
        )


def _handler_failed(journal: Journal, exchange: Exchange, error: Exception) -> None:
    journal.event(
        "error",
        "internal_error",
        request_id=exchange.id,
        why=repr(error),
        where=[
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ],
    )
