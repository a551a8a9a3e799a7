"""What an operator may do to a backend: send it no requests, and send it requests again."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.live import Live
from gateway.policy.balancer import Backend

PROBE_STARTS_S: Final = 1.0
"""The probes' own pace, and a probe that is under way."""
POLL_S: Final = 0.01


async def set_drained(live: Live, backend: Backend, *, drained: bool) -> None:
    """At this process. Undrained, a backend is looked at first, so that this may take a while."""
    if backend.drained == drained:
        return
    if not drained:
        await _look_anew(live, backend)
    backend.drained = drained
    live.admission.pump(backend.model)
    live.journal.event(
        "info", "backend_drained" if drained else "backend_undrained", backend=backend.id, model=backend.model
    )


async def _look_anew(live: Live, backend: Backend) -> None:
    """What is known of it is from before it was drained; since then it may be another server, or none."""
    live.client.drop_idle(backend)
    backend.breaker.reset()
    health = backend.health
    now = asyncio.get_running_loop().time
    before, health.next_probe = health.probed_at, now()
    deadline = now() + live.settings.config.probes.timeout_s + PROBE_STARTS_S
    while health.probed_at == before and now() < deadline:  # noqa: ASYNC110 - rare: no event a probe for it
        await asyncio.sleep(POLL_S)
