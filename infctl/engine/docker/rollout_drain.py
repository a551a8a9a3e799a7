"""What a gateway says of its backends, and whether one of them may be taken away now. Pure.

One that serves may go while another one of its model takes requests, or where it is the only one (then
whoever asked was told). Another that is loading is waited for; one that is down only for a moment.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

DOWN_S = 30.0
"""For another backend that is down: its gateway may see it again soon."""


@dataclass(frozen=True, slots=True)
class Backend:
    id: str
    model: str
    host: str
    """Its container's name."""
    state: str
    in_flight: int = 0
    why: str = ""

    @property
    def is_drained(self) -> bool:
        return self.state in ("drained", "draining")


@dataclass(frozen=True, slots=True)
class Said:
    """One gateway's word."""

    backends: tuple[Backend, ...] = ()
    drain_s: float = 0.0
    """How long its requests may take to end."""
    is_stopping: bool = False

    def backend(self, host: str) -> Backend | None:
        return next((one for one in self.backends if one.host == host), None)

    @property
    def in_flight(self) -> int:
        return sum(one.in_flight for one in self.backends)

    @property
    def drained(self) -> frozenset[str]:
        return frozenset(one.id for one in self.backends if one.is_drained)

    @property
    def ready(self) -> frozenset[str]:
        return frozenset(one.id for one in self.backends if one.state == "ready")


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: Literal["go", "wait", "refuse"]
    why: str = ""


def read(text: str) -> Said:
    """The last line of what the question inside the container printed. Raises ValueError."""
    try:
        data: dict[str, Any] = json.loads(text.strip().rpartition("\n")[2])
        return Said(
            tuple(
                Backend(
                    str(one["id"]),
                    str(one["model"]),
                    str(one["url"]).removeprefix("http://").rpartition(":")[0],
                    str(one["state"]),
                    int(one["in_flight"]),
                    str(one["why"]),
                )
                for one in data["backends"]
            ),
            float(data["drain_s"]),
            bool(data["stopping"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no answer of a gateway: {error!r}") from None


def may_go(said: Sequence[Said], host: str, waited_s: float, start_s: float) -> Verdict:
    """`said`: of every gateway that runs. `start_s`: how long a start of this model may take."""
    verdicts = [_may_go(one, host, waited_s, start_s) for one in said]
    for kind in ("refuse", "wait"):
        for verdict in verdicts:
            if verdict.kind == kind:
                return verdict
    return Verdict("go")


def _may_go(said: Said, host: str, waited_s: float, start_s: float) -> Verdict:
    mine = said.backend(host)
    if mine is None or mine.state not in ("ready", "draining"):
        return Verdict("go")  # nobody is served by it
    others = [one for one in said.backends if one.model == mine.model and one is not mine]
    if not others or any(one.state == "ready" for one in others):
        return Verdict("go")
    waiting = [one for one in others if not one.is_drained]
    if not waiting:
        names = ", ".join(one.id for one in others)
        return Verdict("refuse", f"{mine.id} is the last of {mine.model}: {names} is drained by an operator")
    loading = any(one.state == "loading" for one in waiting)
    told = "; ".join(f"{one.id} is {one.state}{f' ({one.why})' if one.why else ''}" for one in waiting)
    kind: Literal["wait", "refuse"] = "wait" if waited_s < (start_s if loading else DOWN_S) else "refuse"
    return Verdict(kind, f"{mine.id} is the last of {mine.model} that answers: {told}")
