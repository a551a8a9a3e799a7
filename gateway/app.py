"""The wiring of one gateway process: start, signals, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from gateway import certificate, memory, metrics, probes, reload
from gateway.admission import Admission
from gateway.caching import Caching
from gateway.client import Client
from gateway.config import Config
from gateway.control.everywhere import tallies
from gateway.control.plane import Plane
from gateway.live import Live
from gateway.log import FLUSH_S, Journal
from gateway.metrics import Metrics, Sample
from gateway.net.server import Exchange, Refused, Server
from gateway.orders import Orders
from gateway.policy.balancer import Balancer
from gateway.policy.breaker import STATES as BREAKER_STATES
from gateway.policy.hedge import Hedges
from gateway.policy.outlier import Outliers
from gateway.policy.retry import Retries
from gateway.recording import Recording
from gateway.serve import Serve
from gateway.settings import Settings
from gateway.tenants import Tenants, open_store
from gateway.version import compiled, version
from gateway.workers.link import Link, Post

PORT_TAKEN: Final = 5
LAG_S: Final = 0.25
"""Between two looks at the loop's lag."""
CERTIFICATE_S: Final = 300.0
"""Between two looks at the edge's certificate."""
LOOK_AROUND_S: Final = 1.0
"""For the first probes of a worker that was started again."""
PUSH_S: Final = 1.0
"""As much of a worker's counts is lost when it is killed."""
STATES: Final = ("ready", "loading", "down", "drained", "draining")


def run(settings: Settings, path: Path) -> int:
    """Serves until SIGTERM or SIGINT. The exit code: 0, or PORT_TAKEN."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_main(settings, path))


def run_worker(post: Post) -> int:
    """Serves beside other workers, until the parent says that it is over. The exit code."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_worker(post))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _main(settings: Settings, path: Path) -> int:
    """The only process of its gateway."""
    loop = asyncio.get_running_loop()
    live, server = _assemble(settings, Journal(settings.config.log, time.time), time.time())
    await live.tenants.load()
    listen, stop = settings.config.listen, asyncio.Event()

    def interrupted() -> None:
        """A second Ctrl-C is somebody who will not wait for the drain."""
        server.hurried = stop.is_set()
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    live.reload = lambda: reload.reload(live, server, path, os.environ, loop.time())
    loop.add_signal_handler(signal.SIGHUP, live.reload)
    try:
        await server.listen(listen.host, listen.port)
    except OSError as error:
        live.journal.event("error", "not_started", why=error.strerror, address=f"{listen.host}:{listen.port}")
        live.journal.close()
        return PORT_TAKEN
    live.journal.event(
        "info",
        "started",
        version=version(),
        compiled=compiled(),
        address=f"{listen.host}:{server.port}",
        models=[model.name for model in settings.config.models],
        warnings=live.warnings,
        pid=os.getpid(),
    )
    tasks = _background(live)
    await stop.wait()
    live.draining = True
    limit_s = live.settings.config.timeouts.drain_s
    live.journal.event("info", "draining", in_flight=server.active, limit_s=limit_s)
    return await _leave(live, tasks, await server.drain(limit_s))


async def _worker(post: Post) -> int:
    """One of several. Its parent has the signals, the port and the files; it says what is to be done."""
    stop = asyncio.Event()
    link = Link(post)
    settings = link.settings_of(post.sources, os.environ)
    lock = None if post.log_lock < 0 else post.log_lock
    journal = Journal(settings.config.log, time.time, worker=post.number, lock=lock)
    live, server = _assemble(settings, journal, post.created, link)
    orders = Orders(live, link, server, stop)
    link.lost = orders.hurry  # nobody is left to start it again, or to stop it together with the others
    await link.open()
    await live.tenants.load()
    tasks = _background(live)
    if post.restarted:
        await _look_around(live)
    await server.take_over(post.sockets())
    link.ready()
    journal.event("info", "worker_started", pid=os.getpid(), restarted=post.restarted)
    await stop.wait()
    live.draining = True
    cut = await server.drain(live.settings.config.timeouts.drain_s, link.quiet)
    link.push(live.metrics.snapshot(), tallies(live))
    return await _leave(live, tasks, cut)


def _assemble(
    settings: Settings, journal: Journal, created: float, link: Link | None = None
) -> tuple[Live, Server]:
    config, now = settings.config, asyncio.get_running_loop().time()
    balancer, numbers = Balancer(random.random), Metrics()
    tenants = Tenants(
        settings,
        open_store(settings),
        workers=1 if link is None else link.workers,
        on_trouble=lambda why: _store_trouble(live, why),
    )
    live = Live(
        settings=settings,
        balancer=balancer,
        admission=Admission(balancer, config.queue, numbers),
        retries=Retries(config.retries),
        hedges=Hedges(config.hedging),
        outliers=Outliers(config.outliers),
        caching=Caching(config.cache, numbers),
        client=Client(config.upstream, config.timeouts),
        metrics=numbers,
        journal=journal,
        tenants=tenants,
        started_at=now,
        created=created,
        warnings=reload.standing_warnings(settings, link),
        link=link,
    )
    recording = live.recording = Recording(settings)
    journal.hide = recording.hide()
    loop = asyncio.get_running_loop()
    live.audit = recording.open(
        settings, lambda what, facts: _from_thread(loop, lambda: _alarmed(live, what, facts))
    )
    reload.apply(live, settings, now)
    serve = _serving(live, loop)
    server = Server(
        serve,
        config.http,
        config.timeouts,
        on_refused=lambda peer, refused, request_id: _refused(live, peer, refused, request_id),
        on_error=lambda exchange, error: _handler_failed(journal, exchange, error),
        on_left=serve.left,
    )
    live.metrics.ask(lambda: _gauges(live, server))
    for outcome in ("applied", "refused"):
        numbers.counter(metrics.RELOADS, (outcome,))
    numbers.counter(metrics.REDACTIONS, ("failed",))
    return live, server


def _serving(live: Live, loop: asyncio.AbstractEventLoop) -> Serve:
    """The one that traces, where traces are asked for and can be sent."""
    control, settings = Plane(live).answer, live.settings
    endpoint = settings.config.tracing.endpoint
    if endpoint is None:
        return Serve(live, control)
    from gateway.tracing import export  # noqa: PLC0415 - only who traces needs it, and what it brings
    from gateway.tracing.serve import TracedServe  # noqa: PLC0415

    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "infctl-gateway"}
    try:
        send = export.otlp(endpoint, dict(settings.tracing_headers), {**name, "service.version": version()})
    except ImportError as error:
        live.standing.append(export.MISSING)
        live.warnings.append(export.MISSING)
        live.journal.event("error", "tracing_off", why=str(error))
        return Serve(live, control)
    exporter = export.Exporter(
        send,
        lambda why: _from_thread(loop, lambda: _tracing_trouble(live, why)),
        batch_s=export.batch_s(os.environ),
    )
    live.finish_traces = exporter.close
    live.metrics.ask(
        lambda: [
            (metrics.TRACE_SPANS, ("exported",), exporter.exported),
            (metrics.TRACE_SPANS, ("lost",), exporter.lost),
        ]
    )
    return TracedServe(live, control, exporter)


def _tracing_trouble(live: Live, why: str) -> None:
    if why:
        live.journal.event("warning", "traces_lost", why=why)
    else:
        live.journal.event("info", "traces_sent_again")


def _background(live: Live) -> list[asyncio.Task[None]]:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # a request makes little garbage in circles: look for it seldom
    loop = asyncio.get_running_loop()
    works = (probes.run(live), _housekeeping(live), _watch_certificate(live))
    return [loop.create_task(work) for work in works]


async def _leave(live: Live, tasks: list[asyncio.Task[None]], cut: int) -> int:
    """Drained; `cut`: requests that had to be cut off."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await live.client.close()
    live.finish_traces()
    if not await live.tenants.close():
        live.journal.event("warning", "store_not_told", why="what was held of quotas counts as used")
    if live.recording is not None:
        live.recording.close()
        live.recording.count(live.metrics)
    live.journal.event("info" if not cut else "warning", "stopped", cut=cut)
    live.journal.close()
    return 0


async def _look_around(live: Live) -> None:
    """Until each backend was probed: a worker that takes another's place must not refuse what that served."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LOOK_AROUND_S
    while any(each.health.probed_at is None for each in live.balancer.backends()):
        if loop.time() >= end:
            return
        await asyncio.sleep(LOOK_AROUND_S / 100)


async def _watch_certificate(live: Live) -> None:
    """Until cancelled."""
    while True:
        address = live.settings.config.edge
        live.certificate_end = None if address is None else await certificate.end_of(address)
        known = address is None or live.certificate_end is not None
        await asyncio.sleep(CERTIFICATE_S if known else CERTIFICATE_S / 30)


async def _housekeeping(live: Live) -> None:
    """Flushes the log, measures the loop's lag, gives up pools and memory that nobody needs."""
    loop = asyncio.get_running_loop()
    flushed = pushed = trimmed = loop.time()
    trim = memory.trimmer()
    lost, known = 0, 0.0
    while True:
        wanted = loop.time() + LAG_S
        await asyncio.sleep(LAG_S)
        now = loop.time()
        live.metrics.observe(metrics.LAG, (), max(0.0, now - wanted))
        if now - flushed >= FLUSH_S:
            flushed = now
            live.journal.flush()
            if live.recording is not None:
                live.recording.count(live.metrics)
            if live.journal.lost > lost:
                live.metrics.count(metrics.LOST_LINES, by=live.journal.lost - lost)
                lost = live.journal.lost
        if now - trimmed >= memory.TRIM_S:
            trimmed = now
            trim()
        if live.leaving:
            await reload.forget_idle(live)
        if live.link is not None and now - pushed >= PUSH_S:
            pushed = now
            if (served := live.metrics.served()) != known:
                known = served
                live.link.push(live.metrics.snapshot(), tallies(live))


def _gauges(live: Live, server: Server) -> Iterator[Sample]:
    yield metrics.CONNECTIONS, (), server.connections
    yield metrics.WORKERS, (), 1
    yield metrics.STARTED, (), live.created
    yield metrics.BUILD, (version(), "yes" if compiled() else "no"), 1
    config = live.settings.config
    yield metrics.CONFIG, _configured(config), 1
    yield metrics.CONFIG_LOADED, (), live.loaded
    yield metrics.CACHE_ENTRIES, (), len(live.caching.cache)
    yield metrics.CACHE_BYTES, (), live.caching.cache.bytes
    if live.certificate_end is not None:
        yield metrics.CERTIFICATE, (), live.certificate_end
    yield from _disks(config)
    if live.recording is not None:
        yield from live.recording.gauges()
    yield from live.tenants.gauges()
    for model in config.models:
        yield metrics.QUEUE_WAITING, (model.name,), live.admission.waiting(model.name)
    for backend in live.balancer.backends():
        yield metrics.IN_FLIGHT, (backend.model, backend.id), backend.in_flight
        where = backend.model, backend.id
        up = backend.takes_requests and backend.breaker.state != "open"
        yield metrics.BACKEND_UP, where, float(up)
        yield metrics.ATTEMPTS, where, backend.requests
        yield metrics.FAILURES, where, backend.errors
        for state in STATES:
            yield metrics.BACKEND_STATE, (*where, state), float(backend.state == state)
        live.metrics.counter(metrics.BREAKER_CHANGES, (*where, "open"))  # from 0 on, as those in Metrics
        for breaker in BREAKER_STATES:
            yield metrics.BREAKER_STATE, (*where, breaker), float(backend.breaker.state == breaker)


def _disks(config: Config) -> Iterator[Sample]:
    """Where something is kept; a folder that is not there tells nothing."""
    kept = {"store": config.store and str(Path(config.store.path).parent), "audit": config.audit.folder}
    for kind, folder in kept.items():
        with contextlib.suppress(OSError):
            if folder:
                disk = os.statvfs(folder)
                yield metrics.DISK, (kind,), disk.f_blocks * disk.f_frsize
                yield metrics.DISK_FREE, (kind,), disk.f_bavail * disk.f_frsize


def _configured(config: Config) -> metrics.Labels:
    store = "none" if config.store is None else config.store.kind
    audit, cache = config.audit.folder is not None, config.cache.enabled
    return config.balancing.policy, store, "on" if audit else "off", "on" if cache else "off"


def _refused(live: Live, peer: str, refused: Refused, request_id: str) -> None:
    """What the guard refused before there was a request."""
    tenant = live.metrics.tenant(peer)
    live.metrics.count(metrics.REQUESTS, (tenant, metrics.OTHER, "", "refused", refused.code))
    facts = {
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
    if live.journal.requests:
        live.journal.write(facts)
    if live.audit is not None:
        live.audit.record(facts)


_ALARMS: Final = {"audit_recovered": "info", "audit_torn": "warning"}


def _from_thread(loop: asyncio.AbstractEventLoop, step: Callable[[], None]) -> None:
    """The trail's thread may outlast the loop by a moment."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(step)


def _alarmed(live: Live, what: str, facts: dict[str, Any]) -> None:
    """Something befell the audit trail: said in the log, and in /health/detailed while it lasts."""
    recording = live.recording
    if recording is not None and what in {"audit_failed", "audit_recovered"}:
        before = recording.warnings()
        recording.why = str(facts.get("why", "")) if what == "audit_failed" else ""
        live.warnings[:] = [each for each in live.warnings if each not in before] + recording.warnings()
    live.journal.event(_ALARMS.get(what, "error"), what, **facts)


def _store_trouble(live: Live, why: str) -> None:
    """The store of counts does not answer, or does again: in the log, and in /health/detailed meanwhile."""
    was = [each for each in live.warnings if "the store of counts does not answer" in each]
    live.warnings[:] = [each for each in live.warnings if each not in was]
    live.warnings += [each for each in live.tenants.warnings() if each not in live.warnings]
    if why:
        live.journal.event("error", "store_away", why=why)
    else:
        live.journal.event("info", "store_back")


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
