"""The last calls of this worker, each with all that was decided about it: what `infctl why` tells.

On the way of a call only references and numbers are put down; words are made of them when somebody asks. What
is older is in the log and in the audit trail, a line each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import orjson

from gateway.metering import Cost
from gateway.policy.backend import Backend
from gateway.policy.limits import Limit

Seen = tuple[tuple[str, int, float, str, str], ...]
"""Of each backend of the model: id, in flight, room, state, its breaker's state."""


def seen(group: Iterable[Backend]) -> Seen:
    return tuple([(one.id, one.in_flight, one.capacity, one.state, one.breaker.state) for one in group])


class Step:
    """One attempt. `in_flight` of who was chosen counts this call already."""

    __slots__ = ("at", "backend", "seen", "why")

    def __init__(self, at: float, backend: str, seen: Seen, why: str = "") -> None:
        self.at = at
        """By the loop's clock."""
        self.backend = backend
        self.seen = seen
        self.why = why
        """It failed, or was given up; empty: its answer counts."""


class Story:
    """Filled in on the way of a call."""

    __slots__ = ("cost", "lefts", "limits", "message", "steps", "tokens")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.limits: tuple[Limit, ...] = ()
        self.lefts: list[float] = []
        """What was left of each limit, once this call's part had been taken."""
        self.tokens = 0
        """Reserved."""
        self.cost: Cost | None = None
        self.message = ""
        """Of an answer of ours in place of a backend's."""


class Stories:
    """Of one worker. `most`: 0 keeps none."""

    def __init__(self, most: int) -> None:
        self._kept: deque[tuple[bytes, Story, float]] = deque(maxlen=most)

    def resized(self, most: int) -> None:
        if most != self._kept.maxlen:
            self._kept = deque(self._kept, maxlen=most)

    def keep(self, line: bytes, story: Story, received_at: float) -> None:
        """At the call's end. `line`: as in the log. `received_at`: by the loop's clock."""
        self._kept.append((line, story, received_at))

    def find(self, request_id: str) -> dict[str, Any] | None:
        """By our id, or the client's own: the last one."""
        raw = request_id.encode()
        for line, story, received_at in reversed(self._kept):
            if raw in line:
                facts = orjson.loads(line)
                if request_id in {facts["request_id"], facts["client_request_id"]}:
                    return told(facts, story, received_at)
        return None


def told(facts: dict[str, Any], story: Story, received_at: float) -> dict[str, Any]:
    """As plain data. Times in milliseconds since the request came."""
    cost, counted = story.cost, None
    if cost is not None:
        counted = story.tokens if cost.unknown else cost.prompt + cost.completion
    return {
        "request": {name: value for name, value in facts.items() if name not in {"level", "event"}},
        "message": story.message,
        "limits": [
            {
                "code": limit.code,
                "of": limit.scope,
                "limit": limit.amount,
                "left": int(left),
                "per_s": limit.per_s or None,
            }
            for limit, left in zip(story.limits, story.lefts, strict=True)
        ],
        "attempts": [
            {
                "at_ms": round(1000 * (step.at - received_at), 3),
                "backend": step.backend,
                "failed": step.why or None,
                "candidates": [_candidate(*one, chosen=step.backend) for one in step.seen],
            }
            for step in story.steps
        ],
        "tokens": {
            "reserved": story.tokens,
            "counted": counted,
            "unknown": cost is not None and cost.unknown,
        },
    }


def _candidate(
    name: str, in_flight: int, capacity: float, state: str, breaker: str, *, chosen: str
) -> dict[str, Any]:
    return {
        "backend": name,
        "in_flight": in_flight,
        "capacity": None if capacity == float("inf") else capacity,
        "state": state,
        "breaker": breaker,
        "chosen": name == chosen,
    }
