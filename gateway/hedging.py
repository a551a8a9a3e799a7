"""One call at two backends: the first answer wins. policy/hedge.py decides, here is the waiting and cutting.

Whose the places are: the first one is the note's, as without hedging; the second is the race's, until it is
the only one left or has won, and then the note's.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from gateway import metrics
from gateway.asked import Call
from gateway.client import Reply, UpstreamFailed
from gateway.live import Live
from gateway.note import Hedged, HedgeOutcome, Note
from gateway.policy.balancer import Backend, Place
from gateway.policy.hedge import ENDS, Event, Hedge, answers

_OUTCOMES: Final[dict[str, HedgeOutcome]] = {"first_won": "lost", "second_won": "won", "lost": "failed"}
"""Seen from the second one."""


class Hands(Protocol):
    async def send(self, place: Place) -> Reply:
        """Raises UpstreamFailed. Cancelled: the connection is aborted."""

    def broke(self, place: Place, what: Reply | UpstreamFailed) -> None:
        """It failed by itself while the other one goes on: closes the reply, gives the place back."""

    def cut(self, place: Place) -> None:
        """Gives the place back of one that is not needed: that says nothing of its backend."""


def may_be_doubled(call: Call) -> bool:
    """Plain, and without a trace at the backend: a stored response would be there twice."""
    return not call.stream and call.path != b"/v1/responses"


class _Runner:
    __slots__ = ("began_at", "place", "task")

    def __init__(self, place: Place, hands: Hands) -> None:
        loop = asyncio.get_running_loop()
        self.place = place
        self.began_at = loop.time()
        self.task = loop.create_task(hands.send(place))


class Race:
    def __init__(self, live: Live, model: str, note: Note, place: Place, hands: Hands) -> None:
        """`place`: the first one's, which is `note.place`."""
        self._live = live
        self._model = model
        self._note = note
        self._hands = hands
        self._hedge = Hedge()
        self._first = _Runner(place, hands)
        self._second: _Runner | None = None
        self._running = [self._first]

    async def run(self, after_s: float) -> Reply:
        """The reply that counts; `note.place` is where it comes from. Cancelled: what is under way is cut.

        Raises UpstreamFailed: nothing is under way any more.
        """
        outcome: HedgeOutcome | None = None
        try:
            if not await self._ended(after_s):
                outcome = self._start_second()
            while True:
                [ended, *_] = await self._ended(None)
                result = _result(ended.task)
                if self._hedge.happened(self._event(ended, result)) in ENDS:
                    break
                self._out(ended, result)
            if self._second is not None:
                outcome = _OUTCOMES[self._hedge.state]
            self._won(ended)
        finally:
            self._cut(outcome)
        if isinstance(result, UpstreamFailed):
            raise result
        return result

    async def _ended(self, timeout_s: float | None) -> list[_Runner]:
        """The first one first, where both have. None within the time: an empty list."""
        tasks = [runner.task for runner in self._running]
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return [runner for runner in self._running if runner.task in done]

    def _start_second(self) -> HedgeOutcome | None:
        """Why there is none; None: there is one."""
        place = _second_place(self._live, self._note, self._model, self._first.place.backend)
        if not isinstance(place, Place):
            self._hedge.happened("denied")
            return place
        self._hedge.happened("silent")
        self._second = _Runner(place, self._hands)
        self._running.append(self._second)
        return None

    def _event(self, runner: _Runner, result: Reply | UpstreamFailed) -> Event:
        good = isinstance(result, Reply) and (len(self._running) == 1 or answers(result.status))
        if runner is self._first:
            return "first_answered" if good else "first_failed"
        return "second_answered" if good else "second_failed"

    def _out(self, runner: _Runner, result: Reply | UpstreamFailed) -> None:
        """It failed; the other one goes on, and is the note's now."""
        self._running.remove(runner)
        self._note.place = self._running[0].place
        self._hands.broke(runner.place, result)

    def _won(self, runner: _Runner) -> None:
        """Or it is the last that failed. The other one, if it runs, is for `_cut`."""
        self._running.remove(runner)
        self._note.place = runner.place

    def _cut(self, outcome: HedgeOutcome | None) -> None:
        """Whatever still runs. What is not the note's is given back here."""
        now = asyncio.get_running_loop().time()
        for runner in self._running:
            _drop(runner.task)
            if runner.place is not self._note.place:
                self._hands.cut(runner.place)
        if self._second is None and outcome is None:
            return  # the usual case: it was in time
        outcome = outcome or "left"
        self._live.metrics.count(metrics.HEDGES, (self._model, outcome))
        loser = self._running[0] if self._running and self._second is not None else None
        backend, ran_s = (loser.place.backend.id, now - loser.began_at) if loser else (None, 0.0)
        self._note.hedge = Hedged(outcome, backend, ran_s)


def _second_place(live: Live, note: Note, model: str, first: Backend) -> Place | HedgeOutcome:
    """At another backend that is fit and has room, without overtaking anybody."""
    if live.admission.waiting(model) or not live.balancer.spare(model, first):
        return "no_place"
    if not live.retries.one_more(live.balancer.in_flight, counted=note.retrying):
        return "budget"
    note.retrying = True
    place = live.balancer.choose(model, asyncio.get_running_loop().time(), b"", (first,))
    return place if isinstance(place, Place) else "no_place"


def _result(task: asyncio.Task[Reply]) -> Reply | UpstreamFailed:
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, UpstreamFailed):
        return error
    raise error


def _drop(task: asyncio.Task[Reply]) -> None:
    """Its connection is aborted in the loop's next step; an answer that has just come is let go of."""
    task.cancel()
    task.add_done_callback(_let_go)


def _let_go(task: asyncio.Task[Reply]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
