"""The moments between two steps of the loop, in which a waiter and its place could miss each other."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.admission import Admission
from gateway.config import Backend, Config, Model, Queue
from gateway.metrics import Metrics
from gateway.policy.balancer import Balancer, Full, Place
from gateway.refusal import Refusal


def gate(concurrency: int = 1) -> tuple[Admission, Balancer]:
    balancer = Balancer()
    backend = Backend(id="a", url="http://a:1", concurrency=concurrency)
    model = Model(name="m", served_name="m", tasks=("chat",), backends=(backend,))
    balancer.configure(Config(models=(model,)), 0.0)
    balancer.backends()[0].health.probed("answered", "", 0.0, 10.0, 1.0)
    return Admission(balancer, Queue(), Metrics()), balancer


def place(admission: Admission) -> Place:
    found = admission.place("m", 0.0, b"", ())
    assert isinstance(found, Place)
    return found


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def waits(admission: Admission, limit_s: float = 5.0) -> asyncio.Task[Place]:
    return asyncio.ensure_future(admission.wait("m", "t", b"", (), limit_s))


def test_a_call_that_comes_while_a_served_waiter_still_wakes_up_finds_the_free_place():
    async def main() -> None:
        admission, _ = gate(concurrency=2)
        held = [place(admission), place(admission)]
        waiter = waits(admission)
        await settle()
        for each in held:
            admission.release(each)  # the first goes to the waiter, which has not run yet
        assert isinstance(admission.place("m", 0.0, b"", ()), Place)
        await waiter
        assert admission.lines == {}

    asyncio.run(main())


def test_nobody_overtakes_who_waits():
    async def main() -> None:
        admission, _ = gate()
        held = place(admission)
        waiter = waits(admission)
        await settle()
        admission.release(held)
        assert isinstance(admission.place("m", 0.0, b"", ()), Full)
        assert (await waiter).backend.in_flight == 1

    asyncio.run(main())


@pytest.mark.parametrize("settled", [False, True])
def test_a_place_given_to_a_client_that_leaves_in_the_same_moment_goes_to_the_next(settled):
    async def main() -> None:
        admission, balancer = gate()
        held = place(admission)
        leaver, next_one = waits(admission), waits(admission)
        await settle()
        admission.release(held)
        leaver.cancel()
        if settled:
            await settle()
        assert isinstance(await next_one, Place)
        assert leaver.cancelled() or leaver.done()
        admission.release(next_one.result())
        assert (balancer.in_flight, admission.lines) == (0, {})

    asyncio.run(main())


def test_a_place_that_comes_with_the_timeout_is_taken_or_passed_on():
    async def main() -> None:
        for delay_s in (0.0, 0.004, 0.005, 0.006, 0.01):
            admission, balancer = gate()
            held = place(admission)
            waiter = waits(admission, 0.005)
            await asyncio.sleep(delay_s)
            admission.release(held)
            with contextlib.suppress(Refusal):
                admission.release(await waiter)
            assert (balancer.in_flight, admission.lines) == (0, {})

    asyncio.run(main())


def test_the_time_to_come_back_follows_the_pace_of_the_queue():
    async def main() -> None:
        admission, _ = gate()
        held = place(admission)
        waiters = [waits(admission) for _ in range(40)]
        await settle()
        line = admission.lines["m"]
        assert line.retry_s(Queue(timeout_s=7.0), line.served_at) == 7
        line.pace_s = 0.5
        assert line.retry_s(Queue(), line.served_at + 0.1) == 20
        assert line.retry_s(Queue(), line.served_at + 1.0) == 40  # nobody was served for that long
        line.pace_s = 100.0
        assert line.retry_s(Queue(), line.served_at) == 60
        for waiter in waiters:
            waiter.cancel()
        await settle()
        assert admission.lines == {}
        admission.release(held)

    asyncio.run(main())
