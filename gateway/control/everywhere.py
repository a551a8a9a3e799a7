"""What the control plane asks of a gateway: of this process alone, or of all its workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.control import documents, drains, together
from gateway.live import Live, Reloaded
from gateway.metrics import Snapshot
from gateway.policy.exchange import StoreDown
from gateway.workers.channel import FailedError
from gateway.workers.link import NotAgreedError

__all__ = [
    "Agreed",
    "NotAgreedError",
    "detailed",
    "numbers",
    "own_detailed",
    "reload",
    "renew",
    "set_drained",
    "story",
    "tallies",
    "tell",
]

ALONE_S: Final = 2.0
"""For this process to do what all workers would do."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """Numbers of the workers that have done it, and of those that have not in time."""

    done: tuple[int, ...]
    late: tuple[int, ...]


async def numbers(live: Live) -> Snapshot:
    """The numbers of the gateway; of this worker alone, should its parent be at its end."""
    snapshot = live.metrics.snapshot()
    if live.link is None:
        return snapshot
    try:
        return await live.link.total(snapshot, tallies(live))
    except FailedError:
        return snapshot


async def detailed(live: Live) -> dict[str, Any]:
    own = own_detailed(live)
    if live.link is None:
        return own
    try:
        found = await live.link.documents(own)
    except FailedError as error:
        own["warnings"] = [*own["warnings"], f"what follows is of one worker alone: {error}"]
        return own
    by_worker = {int(number): document for number, document in found["documents"].items()}
    return together.detailed(by_worker, found["workers"], found["tallies"])


async def story(live: Live, request_id: str) -> dict[str, Any] | None:
    """Of one of the last calls, whichever worker had it. None: it is not among them."""
    found = None if live.stories is None else live.stories.find(request_id)
    if found is not None or live.link is None:
        return found
    try:
        return await live.link.story(request_id)
    except FailedError:
        return None


async def set_drained(live: Live, backend_id: str, *, drained: bool) -> dict[str, Any]:
    """The backend's row when all have done it. It is known here. Raises NotAgreedError."""
    backend = live.balancer.get(backend_id)
    assert backend is not None  # noqa: S101 - asked before
    if live.link is None:
        await drains.set_drained(live, backend, drained=drained)
        return documents.backend(backend, asyncio.get_running_loop().time())
    try:
        await live.link.set_drained(backend_id, drained=drained)
    except FailedError as error:
        raise NotAgreedError(str(error)) from None
    rows = (await detailed(live))["backends"]
    found: dict[str, Any] = next(row for row in rows if row["id"] == backend_id)
    return found


async def renew(live: Live, generation: int) -> Agreed:
    """What is set at run time is in force; `generation`: what it has to come to at least."""
    return await _all_do(live, "renew", generation, live.tenants.renew)


async def tell(live: Live) -> Agreed:
    """What was settled by now is counted in the store."""
    limiter = live.tenants.limiter
    assert limiter is not None  # noqa: S101 - asked before
    return await _all_do(live, "tell", 0, limiter.tell)


async def _all_do(live: Live, what: str, least: int, here: Callable[[], Awaitable[int | None]]) -> Agreed:
    if live.link is None:
        try:
            async with asyncio.timeout(ALONE_S):
                came_to = await here() or 0
        except (StoreDown, TimeoutError):
            return Agreed((), (0,))
        return Agreed((0,), ()) if came_to >= least else Agreed((), (0,))
    try:
        done, late = await live.link.all_do(what, least)
    except FailedError:
        return Agreed((), tuple(range(live.link.workers)))
    return Agreed(tuple(done), tuple(late))


async def reload(live: Live) -> Reloaded:
    """Of this process, or of all workers, which take over the same or nothing."""
    if live.link is None:
        return live.reload()
    try:
        found = await live.link.reload()
    except FailedError as error:
        return Reloaded(problems=(str(error),))
    return Reloaded(tuple(found["problems"]), tuple(found["gone"]))


def own_detailed(live: Live) -> dict[str, Any]:
    return documents.detailed(live, asyncio.get_running_loop().time())


def tallies(live: Live) -> dict[str, Any]:
    """Requests and errors at each backend."""
    return {backend.id: [backend.requests, backend.errors] for backend in live.balancer.backends()}
