"""A container that was started, until it is ready or has done its work: each look is one `docker inspect`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infctl.engine import causes
from infctl.engine.docker.observed import exit_of, last_check
from infctl.engine.model import Event
from infctl.errors import EngineError

NEWS_EVERY_S = 1.0
"""How often one that loads says what its log says."""
NEWS_MAX_CHARACTERS = 200
TRIES = 3
"""Starts the engine's own restarts get, where the cause may pass; then it counts as failed."""


class Failed(EngineError):  # noqa: N818 - it is what happened
    """A container ended, or turned unhealthy, instead of becoming ready. Carries which, for its log."""

    def __init__(self, container_id: str, name: str, why: str) -> None:
        super().__init__(f"{name} did not become ready: {why}", hint=f"docker logs {name}")
        self.container_id = container_id
        self.name = name
        self.why = why


@dataclass(slots=True)
class Watch:
    """Of one container. Time is an argument: of time.monotonic()."""

    container_id: str
    service: str
    begun: float
    deadline: float
    to_its_end: bool = False
    """A one-shot: done is exit code 0."""
    patient: bool = False
    """It was paused: checks that failed meanwhile count until one passes, and that is waited for."""
    tries: int = 1
    restarts: int | None = None
    """When the watch began; None: not looked yet."""
    told_at: float = 0.0
    crashes: int = 0

    def look(
        self, inspect: Mapping[str, Any], lines: Callable[[int], Sequence[str]], now: float
    ) -> Event | None:
        """An event: `ready` ends the watch. None: nothing to tell. Raises Failed.

        `lines(n)`: the last lines of its log.
        """
        state, name = inspect["State"], str(inspect["Name"]).lstrip("/")
        count = int(inspect.get("RestartCount") or 0)
        self.restarts = count if self.restarts is None else self.restarts
        status = state["Status"]
        if self.to_its_end and status in ("exited", "dead"):
            if state["ExitCode"]:
                raise Failed(self.container_id, name, exit_of(state))
            return Event(self.service, "ready", "done", now - self.begun)
        if status in ("exited", "dead"):
            raise Failed(self.container_id, name, exit_of(state))
        if count - self.restarts > self.crashes:
            self.crashes = count - self.restarts
            # Of one that was started again already the engine says nothing more.
            why = exit_of(state) if status == "restarting" or state["ExitCode"] else "it ended"
            return self._crashed(name, why, lines)
        health = (state.get("Health") or {}).get("Status", "")
        if status == "running" and not self.to_its_end and health in ("", "healthy", "none"):
            return Event(self.service, "ready", elapsed_s=now - self.begun)
        if health == "unhealthy" and not self.patient:
            raise Failed(self.container_id, name, f"its health check fails: {last_check(state)}")
        if now > self.deadline:
            raise Failed(self.container_id, name, f"not within {self.deadline - self.begun:.0f} s")
        if now > (self.told_at or self.begun) + NEWS_EVERY_S:
            self.told_at = now
            return Event(self.service, "loading", _last(lines(5)), now - self.begun)
        return None

    def _crashed(self, name: str, why: str, lines: Callable[[int], Sequence[str]]) -> Event:
        """The engine starts it again; that is worth waiting for where the cause may pass."""
        found = causes.find(lines(causes.LINES_SEARCHED), why)
        if self.crashes >= self.tries or (found is not None and found.lasting):
            raise Failed(self.container_id, name, why)
        return Event(self.service, "crashed", why)


def _last(lines: Sequence[str]) -> str:
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:NEWS_MAX_CHARACTERS] if said else ""
