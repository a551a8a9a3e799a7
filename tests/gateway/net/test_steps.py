"""A coroutine that is stepped when what it waits for comes, and a task that finds all as it expects it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from gateway.net.steps import Steps, current


async def until(there: Callable[[], bool]) -> None:
    while not there():  # noqa: ASYNC110 - counted in rounds of the loop, and no event is to be in between
        await asyncio.sleep(0)


class Work:
    """Some work, its steps taken from callbacks of the loop."""

    def __init__(self, work: Callable[[Work], Coroutine[Any, Any, None]], steps: Steps | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.said: list[str] = []
        self.limit: asyncio.Timeout
        self.steps = Steps(self.loop) if steps is None else steps
        assert self.steps.task is not None
        self.task = self.steps.task
        self.waiter: asyncio.Future[None] = self.loop.create_future()
        self.loop.call_soon(lambda: self.steps.begin(work(self), at_once=True))

    def wait(self) -> asyncio.Future[None]:
        steps = current()
        assert steps is self.steps
        self.waiter = steps.waiter()
        return self.waiter

    def wake(self, *, at_once: bool = True) -> None:
        self.waiter.set_result(None)
        self.steps.woken(self.waiter, at_once=at_once)

    async def done(self) -> None:
        await until(lambda: self.steps.coro is None or self.steps.over)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(main(), 20)

    asyncio.run(whole())


async def rounds_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_it_goes_on_at_once() -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            me.said.append("begun")
            await me.wait()
            me.said.append("first")
            await me.wait()
            me.said.append("second")

        me, seen = Work(work), []
        me.loop.call_soon(lambda: seen.append(list(me.said)))
        me.loop.call_soon(lambda: (me.wake(), seen.append(list(me.said))))
        me.loop.call_soon(lambda: (me.wake(), seen.append(list(me.said))))
        await rounds_of_the_loop(2)
        assert seen == [["begun"], ["begun", "first"], ["begun", "first", "second"]]
        assert current() is None

    run(main)


def test_one_task_serves_all_that_follow_and_ends_when_it_is_stopped() -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            await me.wait()
            await asyncio.sleep(0)
            me.said.append("done")

        first = Work(work)
        steps = first.steps
        for n in range(5):
            me = first if n == 0 else Work(work, steps)
            await rounds_of_the_loop(1)
            me.loop.call_soon(me.wake)
            await rounds_of_the_loop(1)
            await me.done()
            assert me.said == ["done"]
        assert not first.task.done()
        steps.stop()
        await asyncio.wait_for(steps.task, 5)

    run(main)


def test_one_that_the_last_step_of_another_begins_follows_it() -> None:
    async def main() -> None:
        seen: list[int] = []

        async def work(steps: Steps, n: int) -> None:
            seen.append(n)
            if n < 500:  # within one another they would be too deep
                steps.begin(work(steps, n + 1), at_once=False)

        steps = Steps(asyncio.get_running_loop())
        task = steps.task
        assert task is not None
        asyncio.get_running_loop().call_soon(lambda: steps.begin(work(steps, 0), at_once=True))
        await until(lambda: len(seen) > 500)
        assert seen == list(range(501))
        steps.stop()
        await task

    run(main)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_others_complete_steps_it_as_any_task(at_once: bool) -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            await me.wait()
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0))
            await me.wait()
            me.said.append("done")

        me = Work(work)
        for _ in range(2):
            await rounds_of_the_loop(2)
            waiter = me.waiter
            me.loop.call_soon(lambda: me.wake(at_once=at_once))
            await until(lambda waiter=waiter: me.waiter is not waiter or bool(me.said))
        assert me.said == ["done"]

    run(main)


def test_the_current_task_is_its_own_in_each_step() -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            for _ in range(3):
                assert asyncio.current_task() is me.task
                await me.wait()
            assert asyncio.current_task() is me.task
            await asyncio.sleep(0)
            assert asyncio.current_task() is me.task
            me.said.append("done")

        me = Work(work)
        for at_once in (True, False, True):
            await rounds_of_the_loop(3)
            me.loop.call_soon(lambda at_once=at_once: me.wake(at_once=at_once))
        await rounds_of_the_loop(3)
        await me.done()
        assert me.said == ["done"]

    run(main)


@pytest.mark.parametrize("rounds", range(4))
def test_a_cancelled_one_is_not_stepped_but_cancelled_where_it_waits(rounds: int) -> None:
    """Before its task's first step, and behind it."""

    async def main() -> None:
        async def work(me: Work) -> None:
            try:
                await me.wait()
            except asyncio.CancelledError:
                me.said.append("cancelled")
                raise
            me.said.append("went on")

        me = Work(work)

        def both() -> None:
            me.task.cancel()
            me.wake()

        await rounds_of_the_loop(rounds)
        me.loop.call_soon(both)
        with pytest.raises(asyncio.CancelledError):
            await me.task
        assert me.said == ["cancelled"]
        assert me.steps.over

    run(main)


def test_what_a_cancelled_one_waited_for_comes_for_nobody() -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            await me.wait()

        me = Work(work)
        await rounds_of_the_loop(1)
        me.loop.call_soon(me.steps.cancel)
        me.loop.call_soon(lambda: me.said.append(str(me.waiter.cancelled())))
        with pytest.raises(asyncio.CancelledError):
            await me.task
        assert me.said == ["True"]

    run(main)


@pytest.mark.parametrize("rounds", range(4))
def test_a_time_out_that_rings_in_the_round_of_the_wake_cancels_nothing_else(rounds: int) -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            try:
                async with asyncio.timeout(None) as me.limit:
                    await me.wait()
            except TimeoutError:
                me.said.append("late")
            await asyncio.sleep(0)
            await me.wait()
            me.said.append("done")

        me = Work(work)
        await rounds_of_the_loop(max(rounds, 1))

        def both() -> None:
            me.limit._on_timeout()  # type: ignore[attr-defined]
            me.wake()

        first = me.waiter
        me.loop.call_soon(both)
        await until(lambda: me.waiter is not first)
        me.loop.call_soon(me.wake)
        await rounds_of_the_loop(2)
        await me.done()
        assert me.said == ["late", "done"]

    run(main)


def test_a_cancelled_one_that_goes_on_is_stepped_by_the_loop() -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            try:
                await me.wait()
            except asyncio.CancelledError:
                await me.wait()
            me.said.append("done")

        me = Work(work)
        await rounds_of_the_loop(1)
        first = me.waiter
        me.loop.call_soon(me.steps.cancel)
        await until(lambda: me.waiter is not first)
        me.loop.call_soon(me.wake)
        await rounds_of_the_loop(1)
        await me.done()
        assert me.said == ["done"]

    run(main)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_it_cannot_bear_ends_its_task(at_once: bool) -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            await me.wait()
            raise ZeroDivisionError

        me = Work(work)
        await rounds_of_the_loop(1)
        me.loop.call_soon(lambda: me.wake(at_once=at_once))
        with pytest.raises(ZeroDivisionError):
            await me.task
        assert me.steps.over

    run(main)


def test_an_error_of_the_waiters_is_raised_where_it_is_awaited() -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            try:
                await me.wait()
            except ZeroDivisionError:
                me.said.append("seen")

        me = Work(work)
        await rounds_of_the_loop(1)

        def fail() -> None:
            me.waiter.set_exception(ZeroDivisionError())
            me.steps.woken(me.waiter, at_once=True)

        me.loop.call_soon(fail)
        await rounds_of_the_loop(1)
        assert me.said == ["seen"]

    run(main)


def test_within_another_task_it_is_stepped_by_the_loop() -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            await me.wait()
            me.said.append("done")

        me = Work(work)
        await rounds_of_the_loop(2)
        me.wake()
        assert me.said == []
        await me.done()
        assert me.said == ["done"]

    run(main)


def test_nothing_is_left_for_the_collector_of_one_that_was_stopped() -> None:
    async def main() -> None:
        async def work(me: Work) -> None:
            await me.wait()

        async def one() -> None:
            me = Work(work)
            await rounds_of_the_loop(2)
            me.loop.call_soon(me.wake)
            await rounds_of_the_loop(2)
            me.steps.stop()
            await me.task

        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await one()
            assert len([each for each in gc.get_objects() if type(each) is Steps]) <= 1
        finally:
            gc.enable()

    run(main)
