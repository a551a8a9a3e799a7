"""The limits on the way of a call: a ticket at once, or after a word with the store, or a refusal.

Who is admitted is decided in policy/ledger.py; here is the waiting, and the store's thread. taking.py says
what is taken and settled, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from gateway.policy import headers
from gateway.policy.exchange import Answer, Exchange, StoreDown, Wanted
from gateway.policy.holder import Holder, Ticket
from gateway.policy.ledger import Ledger, Verdict
from gateway.policy.limits import Limit
from gateway.policy.refusing import Refused
from gateway.refusal import Refusal
from gateway.store.protocol import Store
from gateway.store.thread import StoreThread

ANSWER_S: Final = 1.5
"""For an exchange; then the store counts as away, and nobody waits for it any longer."""
CLOSE_S: Final = 5.0
HOLDERS_MAX: Final = 10_000

T = TypeVar("T")
_Done = asyncio.Future[Ticket]


class Limiter:
    """Of one worker. Within a running loop."""

    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        shared: bool,
        workers: int = 1,
        on_change: Callable[[int], None] | None = None,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        """`worker`: never used before. `on_change`: settings or keys have a new generation. `on_trouble`: the
        store does not answer, and why; with an empty text: it does again.
        """
        self.ledger: Ledger[_Done] = Ledger(worker, shared=shared, workers=workers)
        self._loop = asyncio.get_running_loop()
        self._worker = StoreThread(
            store, worker, on_wanted=self._wanted if shared else None, on_change=on_change
        )
        self._on_trouble = on_trouble
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        """When the timer rings; one that is due at once does not say so itself (uvloop)."""
        self._sending: asyncio.Future[Answer] | None = None
        self._closing = False
        self._holders: dict[tuple[str, str, tuple[Limit, ...]], Holder] = {}
        self._plan()

    def holder(self, tenant: str, model: str, limits: tuple[Limit, ...]) -> Holder:
        """The same for the same: to be kept by whoever resolves settings."""
        key = tenant, model, limits
        found = self._holders.get(key)
        if found is None:
            if len(self._holders) >= HOLDERS_MAX:
                self._holders.clear()
            found = self._holders[key] = Holder(tenant, model, limits)
        return found

    def admit(self, holder: Holder, tokens: int) -> Ticket | None:
        """None: the store has to be asked (`lease`). Raises Reached (429, 503)."""
        verdict = self.ledger.admit(holder, tokens, self._loop.time())
        if type(verdict) is Ticket:
            if self.ledger.wishing or self.ledger.pressing:
                self._plan()
            return verdict
        if isinstance(verdict, Refused):
            raise Reached(verdict)
        return None

    async def lease(self, holder: Holder, tokens: int, deadline: float) -> Ticket:
        """Raises Reached (429, 503), at the deadline at the latest. Cancelled: nothing was taken."""
        verdict = self.ledger.admit(holder, tokens, self._loop.time())
        if isinstance(verdict, Ticket):
            return verdict
        if isinstance(verdict, Refused):
            raise Reached(verdict)
        done: _Done = self._loop.create_future()
        number = self.ledger.wait(holder, tokens, deadline, done, verdict)
        expiry = self._loop.call_at(deadline, self._expire)
        self._plan()
        try:
            return await done
        except asyncio.CancelledError:
            self.ledger.leave(number)
            if done.done() and not done.cancelled() and done.exception() is None:
                self.ledger.undo(done.result())
            raise
        finally:
            expiry.cancel()

    def settle(self, ticket: Ticket, prompt: int, completion: int, *, unknown: bool = False) -> None:
        self.ledger.settle(ticket, prompt, completion, unknown=unknown)
        if self._timer is None:
            self._plan()

    def undo(self, ticket: Ticket) -> None:
        self.ledger.undo(ticket)

    def left(self, ticket: Ticket) -> tuple[list[float], bytes]:
        """What is left of each of its limits once it was taken, and how a reply's head tells it."""
        plan, now = ticket.plan, ticket.at
        lefts = plan.lefts(now)
        return lefts, self.ledger.lines(plan, lefts, now)

    def call(self, job: Callable[[Store], T]) -> asyncio.Future[T]:
        """On the store's thread, for the control plane."""
        return self._worker.call(job)

    async def tell(self) -> None:
        """All that is settled by now is counted; what the store said is asked anew. Raises StoreDown."""
        if self._closing:
            raise StoreDown("this worker is stopping")
        if self._sending is not None:
            await asyncio.wait([self._sending])  # it may have left before
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._send()
        if self._sending is not None:
            await asyncio.wait([self._sending])
        if self.ledger.down_since is not None:
            raise StoreDown("the store of counts does not answer")
        self.ledger.doubt()

    async def close(self) -> bool:
        """Tells the store all that is settled, gives the rest back. False: it could not be told in time."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        told = False
        with contextlib.suppress(StoreDown, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if self._sending is not None:
                    await asyncio.wait([self._sending])
                for leaving in (False, True):
                    given = self.ledger.exchange(self._loop.time(), leaving=leaving)
                    answer = await self._worker.call(partial(_exchange, given))
                    self._resolve(self.ledger.answered(answer, self._loop.time()))
                told = True
        stopped = await self._loop.run_in_executor(None, self._worker.stop, CLOSE_S)
        return told and stopped

    # --- the store ---

    def _plan(self) -> None:
        """Arms the one timer for the next exchange."""
        if self._closing or self._sending is not None:
            return
        now = self._loop.time()
        due = self.ledger.due(now)
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due < float("inf"):
            self._due = due
            self._timer = self._loop.call_at(max(due, now), self._send)

    def _send(self) -> None:
        self._timer = None
        if self._closing or self._sending is not None:
            return
        given = self.ledger.exchange(self._loop.time())
        self._sending = self._worker.call(partial(_exchange, given))
        self._sending.add_done_callback(self._sent)
        self._loop.call_later(ANSWER_S, self._late, self._sending)

    def _late(self, sending: asyncio.Future[Answer]) -> None:
        if sending is self._sending:
            self._failed(f"no answer within {ANSWER_S:g} s")

    def _sent(self, sending: asyncio.Future[Answer]) -> None:
        self._sending = None
        error = sending.exception()
        if error is None:
            was_away = self.ledger.down_since is not None
            self._resolve(self.ledger.answered(sending.result(), self._loop.time()))
            self._worker.watching = self.ledger.holds()
            if was_away and self._on_trouble is not None:
                self._on_trouble("")
        else:
            self._failed(str(error) or repr(error))
        self._plan()

    def _failed(self, why: str) -> None:
        known = self.ledger.down_since is not None
        self._resolve(self.ledger.failed(self._loop.time()))
        if not known and self._on_trouble is not None:
            self._on_trouble(why)

    def _wanted(self, wanted: tuple[Wanted, ...]) -> None:
        self.ledger.wanted(wanted)
        self._plan()

    def _expire(self) -> None:
        self._resolve(self.ledger.expired(self._loop.time()))

    def _resolve(self, found: list[tuple[_Done, Verdict]]) -> None:
        for done, verdict in found:
            if done.done():
                if isinstance(verdict, Ticket):
                    self.ledger.undo(verdict)
            elif isinstance(verdict, Ticket):
                done.set_result(verdict)
            else:
                done.set_exception(Reached(verdict))


def _exchange(given: Exchange, store: Store) -> Answer:
    return store.exchange(given)


class Reached(Refusal):
    """A limit does not allow it, or nobody knows whether it does."""

    def __init__(self, refused: Refused) -> None:
        lines = headers.refusal_lines(refused, refused.retry_s or 0.0)
        super().__init__(refused.status, refused.code, refused.message, headers=lines, type=refused.type)
        self.refused = refused
