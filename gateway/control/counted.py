"""What the control plane asks of the store of counts: in time, or a refusal that says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from gateway.control import everywhere, quotas
from gateway.control.quotas import Counts, Row, Rules
from gateway.limiter import Limiter
from gateway.live import Live
from gateway.metrics import REQUESTS
from gateway.policy.exchange import StoreDown
from gateway.refusal import Refusal
from gateway.store.protocol import Store

ANSWER_S: Final = 3.0
"""For the store; it does one thing after the other."""

T = TypeVar("T")

Job = Callable[[Store], T]


def limiter(live: Live) -> Limiter:
    """Raises Refusal (409): nothing is counted here."""
    found = live.tenants.limiter
    if found is None:
        message = (
            "This gateway counts nothing and keeps no keys: its gateway.yaml has no `store`. Add one, such as"
            " store: {kind: sqlite, path: /var/lib/gateway/gateway.db}, and start the gateway again."
        )
        raise Refusal(409, "no_store", message, type="invalid_request_error")
    return found


async def ask(live: Live, job: Job[T]) -> T:
    """Raises Refusal (409, 503)."""
    counting = limiter(live)
    try:
        async with asyncio.timeout(ANSWER_S):
            return await counting.call(job)
    except (StoreDown, TimeoutError) as error:
        raise away(str(error) or f"no answer within {ANSWER_S:g} s") from None


def away(why: str) -> Refusal:
    message = f"The store of counts does not answer ({why}). Ask again in some seconds."
    return Refusal(503, "store_unavailable", message, headers=b"retry-after: 5\r\n", type="overloaded")


async def counts(live: Live) -> Counts:
    """As they are now. Raises Refusal."""
    found, clock_s = await ask(live, lambda store: (store.overview(), store.clock_s()))
    ledger, now = limiter(live).ledger, asyncio.get_running_loop().time()
    if ledger.shared:
        return Counts(clock_s, quotas.summed(found))
    slots = {
        counter: reserved
        for (counter, _), reserved in ledger.reserved.items()
        if counter.startswith("in_flight|")  # of a quota the store knows more than what is under way
    }
    return Counts(clock_s, quotas.summed(found), ledger.levels(now), slots)


def rules(live: Live) -> Rules:
    tenants, settings = live.tenants, live.settings
    keys = (*settings.gate.keys, *tenants.tenancy.keys)
    return Rules(
        settings.config, tenants.tenancy, tenants.figures, keys, frozenset(settings.limits_by_environment)
    )


async def refused(live: Live) -> dict[str, dict[str, int]]:
    """Since the gateway started, by tenant and limit."""
    return quotas.refusals((await everywhere.numbers(live)).get(REQUESTS, {}))


async def standing(live: Live, wanted: Callable[[list[str]], list[str]]) -> tuple[Row, list[Row]]:
    """The moment, and a document for each tenant that `wanted` picks. Raises Refusal."""
    seen, by, no = await counts(live), rules(live), await refused(live)
    picked = wanted(quotas.names(by, seen))
    moment = {"as_of": round(seen.clock_s, 3), "refused_since": round(live.created, 3)}
    return moment, [quotas.document(by, seen, tenant, no.get(tenant, {})) for tenant in picked]
