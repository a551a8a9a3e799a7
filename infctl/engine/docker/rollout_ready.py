"""Until a container is ready, seen as soon as it is: its own health check is asked between Docker's rounds.

Docker asks first after a whole interval, and somebody may be without service so long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from infctl.engine.docker.hands import Hands, polls
from infctl.engine.docker.watch import Watch
from infctl.engine.model import Event
from infctl.errors import EngineError

ASK_EVERY_S = 1.0
ANSWER_S = 10.0
EXEC = "CMD"
"""The one form of a check that is rendered."""


def wait(hands: Hands, name: str, service: str, limit_s: float) -> Iterator[Event]:
    """Yields what it loads, not that it is ready. Raises Failed as `Hands.wait_healthy` does."""
    inspect = hands.inspect(name)
    container_id = str(inspect["Id"])
    form, *check = (inspect["Config"].get("Healthcheck") or {}).get("Test") or [""]
    begun = asked = time.monotonic()
    watch = Watch(container_id, service, begun, begun + limit_s)
    for now in polls():
        event = hands.look(watch, now)
        if event is not None and event.kind == "ready":
            return
        if event is not None:
            yield event
        if form == EXEC and now > asked + ASK_EVERY_S:
            if _is_well(hands, container_id, check):
                return
            asked = time.monotonic()


def _is_well(hands: Hands, container_id: str, check: list[str]) -> bool:
    try:
        return hands.exec(container_id, check, timeout_s=ANSWER_S).code == 0
    except EngineError:  # it may have ended meanwhile, which the next look tells
        return False
