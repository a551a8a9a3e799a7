"""The steps by which a gateway is replaced while nginx goes on, and those back. Pure.

    check       nginx would take its files: it can be turned
    make        the new one, as NAME-next, outside nginx's networks
    wait        it becomes ready
    tell        what an operator drained at the old one is drained at the new one; it sees the same backends
    connect     it gets its place, and its names, in nginx's networks
    turn        nginx uses the new one by its address; it may have used both by their name
    keep        old workers answer the last requests of connections that clients keep
    end         the old one ends its streams, and stops
    take over   the old one is removed, the new one gets the name
    look up     Docker's names lead to the new one alone
    release     nginx uses the name again, as rendered

Until `end` everything is undone where a step fails; from there on the new one serves, and the rest is done.
Back, nginx is turned to the old one before the new one goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Step = Literal[
    "check",
    "make",
    "wait",
    "tell",
    "connect",
    "turn",
    "keep",
    "end",
    "take over",
    "look up",
    "release",
    "hold",
    "end next",
    "drop",
    "revive",
]
"""hold: nginx uses the old one by its address. end next: the new one stops as a gateway does. drop: remove
NAME-next. revive: start the old one, wait."""

ON: Final[tuple[Step, ...]] = (
    "check",
    "make",
    "wait",
    "tell",
    "connect",
    "turn",
    "keep",
    "end",
    "take over",
    "look up",
    "release",
)
NO_WAY_BACK: Final = ON.index("end")


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is."""

    main_runs: bool
    main_there: bool = True
    next_there: bool = False
    next_runs: bool = False
    is_connected: bool = False
    """NAME-next, with nginx's networks: nginx may know it."""
    is_ending: bool = False
    """The old one has been told to stop."""
    is_pointed: bool = False
    """nginx uses addresses."""

    @property
    def is_clear(self) -> bool:
        return not self.next_there and not self.is_pointed


def undo(scene: Scene) -> tuple[Step, ...]:
    """Of what had not reached `end`."""
    release: tuple[Step, ...] = ("release",) if scene.is_pointed else ()
    if not scene.next_there:
        return release
    if not scene.main_there:
        return ("connect", "take over", "revive", "look up", "release")
    if not scene.main_runs:
        return ("drop", "revive", "look up", "release")
    if scene.next_runs and scene.is_connected:
        return ("hold", "keep", "end next", "drop", "look up", "release")
    return ("drop", *release)


def take_up(scene: Scene) -> tuple[Step, ...]:
    """What a killed run left: finished where the old one has ended or is about to, else undone."""
    if scene.next_runs and (scene.is_ending or not scene.main_runs):
        return ("connect", *ON[ON.index("turn") :])
    if scene.is_pointed and not scene.next_there:
        return ("look up", "release")
    return undo(scene)


def hurry(scene: Scene) -> tuple[Step, ...]:
    """Ctrl-C. What nginx has never heard of goes at once; else both serve, and the next run takes it up."""
    return () if scene.is_connected else take_up(scene)
