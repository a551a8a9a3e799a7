"""The limiter on a real loop and a real file: who waits, how long, and what is left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from gateway.limiter import Limiter
from gateway.policy.exchange import Answer, Exchange, StoreDown
from gateway.policy.holder import Holder, Ticket
from gateway.policy.ledger import FINAL_S
from gateway.policy.limits import Limit, tenant_scope
from gateway.refusal import Refusal
from gateway.store import thread
from gateway.store.sqlite import SQLite

DAY = Limit("tokens_per_day", tenant_scope("t"), 1000, owner="t")
SLOTS = Limit("in_flight", tenant_scope("t"), 4, owner="t")


class Sick(SQLite):
    """A store that takes its time, or fails, when it is told to."""

    delay_s = 0.0
    broken = False

    def exchange(self, given: Exchange) -> Answer:
        time.sleep(self.delay_s)
        if self.broken:
            raise StoreDown("broken, says the test")
        return super().exchange(given)


@asynccontextmanager
async def limiter(path: Path, worker: str = "w", **how) -> AsyncIterator[tuple[Limiter, Sick]]:
    store = Sick(path)
    found = Limiter(store, worker, shared=how.pop("shared", False), **how)
    try:
        yield found, store
    finally:
        store.delay_s, store.broken = 0.0, False
        await found.close()


async def admitted(found: Limiter, holder: Holder, tokens: int, within_s: float = 5.0) -> Ticket:
    ticket = found.admit(holder, tokens)
    if ticket is None:
        ticket = await found.lease(holder, tokens, asyncio.get_running_loop().time() + within_s)
    return ticket


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what it waits for happens on a thread
            await asyncio.sleep(0.01)


def test_calls_of_one_moment_ask_together_on_the_loop_that_serves(tmp_path: Path):
    """Timers of uvloop that are due at once cannot say when."""

    async def body() -> None:
        async with limiter(tmp_path / "db", shared=True) as (found, _):
            await found.call(lambda store: None)  # the first exchange, of its start, is behind it
            await asyncio.sleep(0)
            holder = found.holder("t", "m", (DAY,))
            tickets = await asyncio.gather(*(admitted(found, holder, 10) for _ in range(5)))
            for ticket in tickets:
                found.settle(ticket, 10, 0)

    uvloop.run(body())


def test_the_store_is_asked_once_and_then_the_lease_serves(tmp_path: Path):
    async def body() -> None:
        async with limiter(tmp_path / "db") as (found, _):
            holder = found.holder("t", "m", (DAY,))
            assert found.holder("t", "m", (DAY,)) is holder
            assert found.admit(holder, 100) is None
            ticket = await admitted(found, holder, 100)
            found.settle(ticket, 10, 0)
            ticket = found.admit(holder, 90)
            assert isinstance(ticket, Ticket)
            found.settle(ticket, 5, 0)
        store = SQLite(tmp_path / "db")
        [seen] = store.overview()
        assert (seen.settled, seen.leased) == (15, 0)
        store.close()

    asyncio.run(body())


def test_a_refusal_has_its_code_and_a_true_retry_after(tmp_path: Path):
    async def body() -> None:
        async with limiter(tmp_path / "db") as (found, _):
            holder = found.holder("t", "m", (DAY,))
            await admitted(found, holder, 1000)
            with pytest.raises(Refusal) as caught:
                await admitted(found, holder, 1)
            now = time.time()
            [after] = [
                line for line in caught.value.headers.split(b"\r\n") if line.startswith(b"retry-after")
            ]
            assert (caught.value.status, caught.value.code) == (429, "tokens_per_day")
            assert caught.value.type == "quota_exceeded"
            assert abs(int(after.split()[1]) - (86_400 - now % 86_400)) < 5

    asyncio.run(body())


def test_a_store_that_hangs_holds_nobody_beyond_the_deadline(tmp_path: Path):
    async def body() -> None:
        async with limiter(tmp_path / "db") as (found, store):
            holder = found.holder("t", "m", (DAY,))
            store.delay_s = 1.0
            started = time.monotonic()
            with pytest.raises(Refusal) as caught:
                await admitted(found, holder, 1, within_s=0.2)
            assert time.monotonic() - started < 0.9
            assert (caught.value.status, caught.value.code) == (503, "quota_unavailable")

    asyncio.run(body())


def test_a_store_that_fails_is_reported_once_and_when_it_is_back(tmp_path: Path):
    async def body() -> None:
        said: list[str] = []
        async with limiter(tmp_path / "db", on_trouble=said.append) as (found, store):
            holder = found.holder("t", "m", (DAY,))
            store.broken = True
            for _ in range(3):
                with pytest.raises(Refusal) as caught:
                    await admitted(found, holder, 1)
                assert caught.value.code == "quota_unavailable"
            assert said == ["broken, says the test"]
            store.broken = False
            await until(lambda: not said[-1])
            assert isinstance(await admitted(found, holder, 1), Ticket)

    asyncio.run(body())


def test_who_goes_away_while_it_waits_has_taken_nothing(tmp_path: Path):
    async def body() -> None:
        async with limiter(tmp_path / "db") as (found, store):
            holder = found.holder("t", "m", (DAY, SLOTS))
            store.delay_s = 0.05
            waiting = [asyncio.create_task(admitted(found, holder, 10)) for _ in range(20)]
            await asyncio.sleep(0.01)
            for task in waiting[::2]:
                task.cancel()
            ended = await asyncio.gather(*waiting, return_exceptions=True)
            tickets = [one for one in ended if isinstance(one, Ticket)]
            assert len(tickets) == 4  # slots
            for ticket in tickets:
                found.settle(ticket, 1, 0)
            assert found.ledger.reserved == {}
            assert found.ledger.waiting == 0

    asyncio.run(body())


def test_two_workers_share_to_the_last_slot(tmp_path: Path):
    async def body() -> None:
        async with (
            limiter(tmp_path / "db", "one", shared=True) as (one, _),
            limiter(tmp_path / "db", "two", shared=True) as (two, _),
        ):
            holders = [found.holder("t", "m", (SLOTS,)) for found in (one, two)]
            held = [await admitted(one, holders[0], 0) for _ in range(2)]
            held += [await admitted(two, holders[1], 0) for _ in range(2)]
            for found, holder in ((one, holders[0]), (two, holders[1])):
                with pytest.raises(Refusal) as caught:
                    await admitted(found, holder, 0)
                assert caught.value.code == "in_flight"
            one.settle(held[0], 0, 0)  # one has it to spare now, and two gets it
            await asyncio.sleep(FINAL_S)
            assert isinstance(await admitted(two, holders[1], 0), Ticket)

    asyncio.run(body())


def test_a_change_of_settings_is_heard_of_within_a_second(tmp_path: Path):
    async def body() -> None:
        heard: list[int] = []
        async with limiter(tmp_path / "db", on_change=heard.append) as (found, _):
            await until(lambda: bool(heard))
            other = SQLite(tmp_path / "db")
            generation = other.put_figures("tenant:t", '{"in_flight": 3}')
            other.close()
            await until(lambda: heard[-1] == generation)
            assert (await found.call(lambda store: store.settings())).figures == {
                "tenant:t": '{"in_flight": 3}'
            }

    asyncio.run(body())
    assert thread.CHANGES_S < 0.5


def test_closing_a_limiter_whose_store_is_away_says_so(tmp_path: Path):
    async def body() -> None:
        store = Sick(tmp_path / "db")
        found = Limiter(store, "w", shared=False)
        found.settle(await admitted(found, found.holder("t", "m", (DAY,)), 10), 1, 0)
        store.broken = True
        assert await found.close() is False

    asyncio.run(body())


def test_the_gateways_own_loop_gives_no_time_back_for_what_is_due_at_once(tmp_path: Path):
    """Uvloop's handle of a timer that is due already has no `when`."""
    uvloop = pytest.importorskip("uvloop")

    async def body() -> None:
        async with limiter(tmp_path / "db", shared=True) as (found, _):
            holders = [
                found.holder(f"t{n}", "m", (Limit("tokens_per_day", f"tenant:t{n}", 1000),)) for n in range(8)
            ]
            tickets = await asyncio.gather(*(admitted(found, holder, 10) for holder in holders))
            assert all(isinstance(ticket, Ticket) for ticket in tickets)
            for ticket in tickets:
                found.settle(ticket, 5, 5)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())
