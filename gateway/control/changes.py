"""What an admin changes at run time: in the store, then in every worker, then written down, then answered.

A change is decided from what the store says (`decide`, pure), and made only if that has not changed
meanwhile: two admins at once lose nothing of each other. One that was begun is carried out and written down
whether its admin waits for it or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

import msgspec

from gateway.control import counted, everywhere
from gateway.control.everywhere import Agreed
from gateway.live import Live
from gateway.policy.exchange import StoreDown
from gateway.policy.keys import Key
from gateway.refusal import Refusal
from gateway.store.protocol import Settings, Store

TRIES: Final = 20
"""When others change things at the same moment again and again."""
OTHERS: Final = "other gateways on the same store follow within 1 s"

T = TypeVar("T")
Facts = dict[str, Any]


class Change(msgspec.Struct, Generic[T], frozen=True):
    """What is to be in the store instead, and what there is to say of it."""

    result: T
    figures: dict[str, str | None] = {}
    """By scope; None: away with it."""
    keys: dict[str, Key | None] = {}
    """By id."""


class Who(msgspec.Struct, frozen=True):
    """An admin: there is one key for all of them, so it is the address that tells them apart."""

    peer: str
    request_id: str


class Done(msgspec.Struct, Generic[T], frozen=True):
    result: T
    agreed: Agreed


_under_way: set[asyncio.Task[Any]] = set()


async def change(
    live: Live, who: Who, decide: Callable[[Settings], Change[T]], told: Callable[[T], Facts]
) -> Done[T]:
    """`told`: what is written down of it, without a secret. Raises Refusal, and what `decide` raises."""

    def job(store: Store) -> tuple[int, T]:
        for _ in range(TRIES):
            found = store.settings()
            wanted = decide(found)
            if not (wanted.figures or wanted.keys):
                return found.generation, wanted.result
            generation = store.change(found.generation, wanted.figures, wanted.keys)
            if generation is not None:
                return generation, wanted.result
        raise StoreDown("others change what is set all the time")

    async def carry_out() -> Done[T]:
        generation, result = await counted.limiter(live).call(job)
        agreed = await everywhere.renew(live, generation)
        write_down(live, who, told(result) | {"applied_by": len(agreed.done)})
        return Done(result, agreed)

    return await _in_time(live, carry_out())


async def reset(live: Live, who: Who, tenant: str, counters: list[str]) -> Done[list[Facts]]:
    """Forgets what was used in the windows that are open. `counters`: of quotas. Raises Refusal."""

    def job(store: Store) -> list[Facts]:
        seen = {one.counter: one for one in store.overview()}
        there = [seen[counter] for counter in counters if counter in seen]
        for one in there:
            store.reset(one.counter)
        return [{"counter": one.counter, "settled": one.settled, "leased": one.leased} for one in there]

    async def carry_out() -> Done[list[Facts]]:
        # What workers have not told yet was used before: it would come back after the reset.
        await everywhere.tell(live)
        found = await counted.limiter(live).call(job)
        agreed = await everywhere.tell(live)  # who has just been told that nothing is left asks again
        before = {each["counter"]: each["settled"] for each in found}
        write_down(live, who, {"what": "quota_reset", "tenant": tenant, "before": before})
        return Done(found, agreed)

    return await _in_time(live, carry_out())


def write_down(live: Live, who: Who, facts: Facts) -> None:
    """In the audit trail, where one is kept, and in the log."""
    line = {"request_id": who.request_id, "who": "admin", "peer": who.peer, **facts}
    live.journal.event("info", "admin", **line)
    if live.audit is not None:
        live.audit.record({"ts": live.journal.now(), "level": "info", "event": "admin", **line})


def applied_by(live: Live, agreed: Agreed) -> Facts:
    """For the answer."""
    store = live.settings.config.store
    others = OTHERS if store is not None and store.kind == "redis" else ""
    return {"workers": len(agreed.done), "late": list(agreed.late), "others": others}


async def _in_time(live: Live, doing: Coroutine[Any, Any, T]) -> T:
    """It goes on by itself when its admin is gone, or does not want to wait any longer. Raises Refusal."""
    task = asyncio.get_running_loop().create_task(_checked(live, doing))
    _under_way.add(task)
    task.add_done_callback(_ended)
    done, _ = await asyncio.wait([task], timeout=counted.ANSWER_S)
    if not done:
        message = (
            f"The store of counts has not answered within {counted.ANSWER_S:g} s, and whether the change is"
            " made is not known: look before you ask for it again."
        )
        raise Refusal(503, "store_unavailable", message, type="overloaded")
    return task.result()


async def _checked(live: Live, doing: Coroutine[Any, Any, T]) -> T:
    try:
        if live.audit is not None and live.audit.refusing:
            message = "Nothing can be written into the audit trail now, and every change must be."
            raise Refusal(503, "audit_unavailable", message, type="overloaded")
        counted.limiter(live)
        return await doing
    except StoreDown as error:
        raise counted.away(str(error)) from None
    finally:
        doing.close()


def _ended(task: asyncio.Task[Any]) -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()  # looked at here: its admin may be gone
