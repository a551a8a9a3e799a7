"""SIGHUP or POST /admin/reload: gateway.yaml and .env are read and judged as a whole, then taken over at
once, or not at all.

    what                          of calls under way                       from then on
    keys, models, time-outs       as they came in                          the new ones
    who waits for a place         keeps its time, its turn and its weight  served by whoever is free now
    a backend that stays          goes on; its counts, breaker and drain   stay
    a backend that goes           to its end, then its pool is closed      gets no more
    answers kept                  -                                        dropped if the models changed,
                                                                           or if none are to be kept
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from gateway import metrics
from gateway.config import ConfigError, Figures
from gateway.live import Live, Reloaded
from gateway.net.server import Server
from gateway.policy.balancer import Backend
from gateway.settings import Settings, read_settings
from gateway.stories import Stories
from gateway.workers.link import Link

FIXED = ("listen", "workers", "audit", "store", "tracing")
"""Fields that only a restart changes."""


def reload(live: Live, server: Server, path: Path, environ: Mapping[str, str], now: float) -> Reloaded:
    """A bad file is no exception: the old configuration stays; log and /health/detailed say why."""
    try:
        settings = read_settings(path, environ)
    except ConfigError as error:
        live.metrics.count(metrics.RELOADS, ("refused",))
        live.journal.event("error", "reload_refused", file=error.file, problems=list(error.problems))
        refuse(live, str(error))
        return Reloaded(problems=error.problems)
    live.metrics.count(metrics.RELOADS, ("applied",))
    return take_over(live, server, settings, path.name, now)


def refuse(live: Live, why: str) -> None:
    """The configuration before stays in force, and that is said."""
    live.warnings[:] = [
        *standing_warnings(live.settings, live.link),
        f"the last reload was refused, the configuration before it is in force: {why}",
    ]


def take_over(live: Live, server: Server, settings: Settings, file: str, now: float) -> Reloaded:
    """All of it, between two steps of the loop."""
    unchanged = [
        f"`{name}` changed in {file}; it takes a restart to change it"
        for name in FIXED
        if getattr(settings.config, name) != getattr(live.settings.config, name)
    ]
    gone = apply(live, settings, now)
    server.reconfigure(settings.config.http, settings.config.timeouts)
    lasting = live.recording.warnings() if live.recording is not None else []
    lasting += live.tenants.warnings()
    live.warnings[:] = [*standing_warnings(settings, live.link), *live.standing, *unchanged, *lasting]
    live.journal.event(
        "info",
        "reloaded",
        models=[model.name for model in settings.config.models],
        backends=len(live.balancer.backends()),
        gone=[backend.id for backend in gone],
        warnings=live.warnings,
    )
    return Reloaded(gone=tuple(backend.id for backend in gone))


def apply(live: Live, settings: Settings, now: float) -> tuple[Backend, ...]:
    """Takes the settings over between two steps of the loop. Returns the backends that are gone."""
    config = settings.config
    if config.models != live.settings.config.models or not config.cache.enabled:
        live.caching.cache.clear()
    live.caching.cache.configure(config.cache)
    live.settings = settings
    live.loaded = time.time()
    live.tenants.configure(settings)
    live.journal.configure(config.log)
    if not config.log.stories:
        live.stories = None
    elif live.stories is None:
        live.stories = Stories(config.log.stories)
    else:
        live.stories.resized(config.log.stories)
    if live.recording is not None:
        live.recording.configure(settings)
        live.journal.hide = live.recording.hide()
    live.client.configure(config.upstream, config.timeouts, settings.gate.backend_line)
    live.retries.rules = config.retries
    live.hedges.configure(config.hedging)
    live.outliers.rules = config.outliers
    gone = live.balancer.configure(config, now)
    live.leaving.update(gone)
    live.admission.rules = config.queue
    live.admission.pump_all()
    return gone


async def forget_idle(live: Live) -> None:
    """Closes the pools of backends that are gone, once their last request has ended."""
    kept = {(backend.host, backend.port) for backend in live.balancer.backends()}
    for backend in tuple(live.leaving):
        if backend.in_flight == 0:
            live.leaving.discard(backend)
            if (backend.host, backend.port) not in kept:
                await live.client.forget(backend)


def standing_warnings(settings: Settings, link: Link | None = None) -> list[str]:
    """What is allowed, and still worth knowing."""
    audit = settings.config.audit
    keys, found = settings.config.keys, [] if link is None else list(link.warnings)
    if audit.folder is not None and settings.audit_key is None:
        found.append(
            f"{audit.key_env} is not set: whoever can write the audit trail can forge it. Give it a"
            " long random value where the other keys are"
        )
    if keys.shared_env is None and not settings.config.has_tenants_keys:
        found.append("no key is asked for: keys.shared_env is null")
    elif settings.gate.shared_is_admin:
        found.append(f"{keys.admin_env} is not set: {keys.shared_env} is the admin key as well")
    return found + _tenant_warnings(settings)


def _tenant_warnings(settings: Settings) -> list[str]:
    config = settings.config
    found = []
    said = [config.limits, *(tenant.limits for tenant in config.tenants.values())]
    if config.store is None and any(each != Figures() for each in said):
        found.append("limits are configured, and no store: nothing is counted, and nobody is held back")
    known = {key.name for key in settings.gate.keys}
    for name, tenant in config.tenants.items():
        found += [
            f"{variable} is not set: {name} has no key by that name"
            for variable in tenant.key_envs
            if variable not in known
        ]
    return found
