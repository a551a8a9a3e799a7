"""A container that did not become ready, as an error: its telling lines, the likely cause, what to do."""

from __future__ import annotations

from infctl.engine import causes
from infctl.engine.docker.hands import Hands
from infctl.engine.docker.watch import Failed
from infctl.errors import EngineError


def failure(hands: Hands, failed: Failed, service: str) -> EngineError:
    """Asked while the container is still there: its log goes with it."""
    try:
        lines = hands.logs(failed.container_id, causes.LINES_SEARCHED)
    except EngineError:
        lines = []
    return causes.failed(lines, service, failed.why, "did not start")
