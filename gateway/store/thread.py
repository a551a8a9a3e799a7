"""A store on its own thread, so that no disk and no network ever holds the loop up.

Jobs are done one after the other. Between them the thread looks whether other workers lack something, and
whether settings have changed. A store that hangs hangs this thread alone: whoever asked goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, TypeVar

from gateway.policy.exchange import StoreDown, Wanted
from gateway.store.protocol import Store

T = TypeVar("T")

WANTED_S: Final = 0.04
"""Between two looks for hunger: others are to give back within 0.1 s."""
CHANGES_S: Final = 0.4
"""Between two looks for changed settings: they are to hold within 1 s."""
JOBS_MAX: Final = 256
"""Waiting; further ones fail at once."""

_Job = tuple[Callable[[Store], Any], "asyncio.Future[Any]"]


class StoreThread:
    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        on_wanted: Callable[[tuple[Wanted, ...]], None] | None,
        on_change: Callable[[int], None] | None,
    ) -> None:
        """Within a running loop; the callbacks are called on it. `on_wanted`: None where nobody shares."""
        self._store = store
        self._worker = worker
        self._on_wanted = on_wanted
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(JOBS_MAX)
        self._generation = -1
        self.watching = False
        """Something is held that others might lack."""
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def call(self, job: Callable[[Store], T]) -> asyncio.Future[T]:
        """Its result, or StoreDown. Cancelling it does not undo it."""
        done: asyncio.Future[T] = self._loop.create_future()
        try:
            self._jobs.put_nowait((job, done))
        except queue.Full:
            done.set_exception(StoreDown(f"{JOBS_MAX} jobs wait for the store already"))
        return done

    def stop(self, limit_s: float) -> bool:
        """After the jobs that wait; closes the store. False: it hangs, and is left to itself."""
        with contextlib.suppress(queue.Full):
            self._jobs.put_nowait(None)
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        changes_at = 0.0
        while True:
            try:
                job = self._jobs.get(timeout=WANTED_S if self.watching and self._on_wanted else CHANGES_S)
            except queue.Empty:
                self._look(changes := monotonic() >= changes_at)
                if changes:
                    changes_at = monotonic() + CHANGES_S
                continue
            if job is None:
                self._store.close()
                return
            self._do(*job)

    def _do(self, job: Callable[[Store], Any], done: asyncio.Future[Any]) -> None:
        try:
            result = job(self._store)
        except Exception as error:  # noqa: BLE001 - it is handed to who asked
            self._tell(_fail, done, error)
        else:
            self._tell(_succeed, done, result)

    def _look(self, changes: bool) -> None:
        """What the store has to say unasked. While it is away exchanges find that out and say so."""
        with contextlib.suppress(StoreDown):
            if self.watching and self._on_wanted is not None:
                wanted = self._store.wanted(self._worker)
                if wanted:
                    self._tell(self._on_wanted, wanted)
            if changes and self._on_change is not None:
                generation = self._store.generation()
                if generation != self._generation:
                    self._generation = generation
                    self._tell(self._on_change, generation)

    def _tell(self, what: Callable[..., None], *about: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(what, *about)


def _succeed(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
