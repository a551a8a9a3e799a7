"""A request goes on in the moment that what it waits for has come, not in the event loop's next round.

A task is stepped by the loop: what it waits for is done, a callback is put into the line, and in the next
round it runs. Here the connection that brings what a coroutine waits for steps it itself, and so takes its
first steps. Its task sleeps meanwhile. It is there as for every coroutine, so that time-outs, cancelling and
whoever asks for the current task find what they expect, and it steps what waits for anything else. One
serves all coroutines of a connection, one after the other: none has to be made for each.

Rule 1: only an event loop's callback steps, as the last thing it does, and never within another task.
Rule 2: a task that is being cancelled is stepped by nobody but the loop: the cancelling has to arrive where
        the coroutine waits now.
Rule 3: what waits for a future that is not its `waiter` is the task's: it is woken to hear of it.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from typing import Any, cast

_current: Steps | None = None


def current() -> Steps | None:
    """Whose coroutine is running. None: that of a task like others."""
    return _current


class Steps:
    """One coroutine at a time, and the task that stands for all of them: what the task runs is this."""

    __slots__ = ("_awaited", "_error", "_loop", "_rest", "_waiter", "coro", "over", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.coro: Coroutine[Any, Any, None] | None = None
        """That runs, or waits."""
        self._awaited: Any = None
        """The future that the coroutine waits for; None: only its turn in the loop."""
        self._waiter: asyncio.Future[None] | None = None
        """Made here: who completes it says so, to `woken`."""
        self._loop = loop
        self._rest = loop.create_future()
        """What the task waits for while there is nothing to do for it."""
        self._error: BaseException | None = None
        self.over = False
        """It steps nothing any more."""
        self.task: asyncio.Task[None] | None = loop.create_task(cast("Coroutine[Any, Any, None]", self))

    def begin(self, coro: Coroutine[Any, Any, None], *, at_once: bool) -> None:
        """`at_once`: up to where it has to wait first, here and now. The one before is over."""
        self.coro, self._awaited = coro, None
        if not at_once or not self._stepped():
            self._nudge()

    def waiter(self) -> asyncio.Future[None]:
        """To be awaited at once, by the coroutine that runs."""
        waiter = self._waiter = self._loop.create_future()
        return waiter

    @property
    def cancelling(self) -> bool:
        task = self.task
        return task is not None and task.cancelling() > 0

    def woken(self, waiter: asyncio.Future[None], *, at_once: bool) -> None:
        """The waiter is done."""
        if self.cancelling:
            if not waiter.cancelled():
                waiter.exception()  # nobody else will ask for it
        elif at_once and self._awaited is waiter and self._stepped():
            return
        self._nudge()

    def cancel(self) -> None:
        """The coroutine. What its waiter stands for comes for nobody, from now on."""
        if self._waiter is not None:
            self._waiter.cancel()
        if self.task is not None:
            self.task.cancel()

    def stop(self) -> None:
        """When no coroutine is left."""
        self.over = True
        self._nudge()

    def _stepped(self) -> bool:
        """False: that cannot be done here."""
        coro, loop, task = self.coro, self._loop, self.task
        if coro is None or task is None:
            return False
        try:
            _enter_task(loop, task)
        except RuntimeError:  # within another one
            return False
        try:
            self._run(coro)
        except BaseException as error:  # noqa: BLE001 - the task raises it
            self._error, self.over = error, True
            self._nudge()
        finally:
            _leave_task(loop, task)
        if self.coro is not None and (self._awaited is None or self._awaited is not self._waiter):
            self._nudge()
        return True

    def _run(self, coro: Coroutine[Any, Any, None], error: BaseException | None = None) -> None:
        """One step, whoever takes it. Raises what the coroutine raises."""
        global _current  # noqa: PLW0603 - what runs now is a fact about the process
        _current = self
        try:
            awaited = coro.send(None) if error is None else coro.throw(error)
            self._awaited = awaited
        except StopIteration:
            self._ended(coro)
        except BaseException:
            self._ended(coro)
            raise
        finally:
            _current = None

    def _ended(self, coro: Coroutine[Any, Any, None]) -> None:
        if self.coro is coro:  # its last step may have begun the next one
            self.coro = self._awaited = self._waiter = None

    def _nudge(self) -> None:
        """The task looks what there is to do."""
        if not self._rest.done():
            self._rest.set_result(None)

    # What the task calls.

    def send(self, _: None) -> object:
        if self._error is not None:
            return self._raise(self._error)
        coro, awaited = self.coro, self._awaited
        if coro is not None and (awaited is None or awaited.done()):
            try:
                self._run(coro)
            except BaseException as error:  # noqa: BLE001 - raised there
                return self._raise(error)
        return self._next()

    def throw(self, error: BaseException, *_: object) -> object:
        coro = self.coro
        if coro is None:
            return self._raise(error)
        try:
            self._run(coro, error)
        except BaseException as ended_with:  # noqa: BLE001 - raised there
            return self._raise(ended_with)
        return self._next()

    def close(self) -> None:
        if self.coro is not None:
            self.coro.close()

    def __await__(self) -> Generator[Any, None, None]:
        raise RuntimeError("this is for a task")

    def _next(self) -> object:
        """What the task waits for: what the coroutine does, or a nudge."""
        if self.coro is not None and (self._awaited is None or self._awaited is not self._waiter):
            return self._awaited
        if self.over:
            return self._raise(StopIteration())
        rest = self._rest
        if rest.done():
            rest = self._rest = self._loop.create_future()
        return next(iter(rest.__await__()))  # itself, and it knows that it is awaited

    def _raise(self, error: BaseException) -> object:
        """The task's end."""
        self.over = True
        self._error = self.task = None  # no circle is left for the collector
        raise error
