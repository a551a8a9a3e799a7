"""Where the replace of one container stands, told from what there is, and the steps on or back. Pure.

The old container and the new one take turns in the name; the other one waits under a name with an ending.
Each step leaves one of these pictures, so a run that was killed is taken up from what is there:

    place       NAME          NAME-next   NAME-old   leads on              leads back
    untouched   the old one   -           -          create                (nothing to do)
    prepared    it runs       the new     -          drain, stop           undrain, drop
    stopped     it has ended  the new     -          set aside             start, wait ...
    aside       -             the new     the old    take over             come back ...
    swapped     the new one   -           the old    start                 step aside ...
    started     it runs       -           the old    wait, ask ... forget  end new ...
    ended       it has ended  -           the old    start                 step aside ...
    orphan      -             any         -          take over, start      the same

Rule 1. There is no second way to a place: back are the same steps in the reverse order.
Rule 2. What a killed run left is led back before the swap, and on after it: the new one may work. One that
        has ended was on its way back, or does not.
Rule 3. In a hurry (Ctrl-C) the old one comes back, and is not waited for: the gateway looks at it itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Place = Literal["untouched", "prepared", "stopped", "aside", "swapped", "started", "ended", "orphan"]
Step = Literal[
    "create",
    "drain",
    "stop",
    "set aside",
    "take over",
    "start",
    "wait",
    "ask",
    "undrain",
    "forget",
    "end new",
    "step aside",
    "come back",
    "drop",
]
"""create: the new one as NAME-next. set aside: NAME -> NAME-old. take over: NAME-next -> NAME.
forget: remove NAME-old. end new: stop NAME. step aside: NAME -> NAME-next. come back: NAME-old -> NAME.
drop: remove NAME-next. drain, stop, start, wait, ask, undrain: of NAME."""

_ON: Final[tuple[Step, ...]] = (
    "create",
    "drain",
    "stop",
    "set aside",
    "take over",
    "start",
    "wait",
    "ask",
    "undrain",
    "forget",
)
_BACK: Final[tuple[Step, ...]] = ("end new", "step aside", "come back", "start", "wait", "undrain", "drop")
_ON_FROM: Final[dict[Place, int]] = {
    "untouched": 0,
    "prepared": 1,
    "stopped": 3,
    "aside": 4,
    "swapped": 5,
    "started": 6,
    "ended": 5,
}
_BACK_FROM: Final[dict[Place, int]] = {
    "started": 0,
    "swapped": 1,
    "ended": 1,
    "aside": 2,
    "stopped": 3,
    "prepared": 5,
    "untouched": 7,
}
_ORPHAN: Final[tuple[Step, ...]] = ("take over", "start", "wait", "undrain")
_HURRY: Final[dict[Place, tuple[Step, ...]]] = {
    "untouched": (),
    "prepared": ("undrain", "drop"),
    "stopped": ("start", "undrain", "drop"),
    "aside": ("come back", "start", "undrain", "drop"),
    "swapped": ("step aside", "come back", "start", "undrain", "drop"),
    "ended": ("step aside", "come back", "start", "undrain", "drop"),
    "started": ("end new", "step aside", "come back", "start", "undrain", "drop"),
    "orphan": ("take over", "start", "undrain"),
}


@dataclass(frozen=True, slots=True)
class Stand:
    """The status of each container, as the engine says it; empty: there is none of that name."""

    main: str = ""
    next: str = ""
    old: str = ""

    @property
    def is_clear(self) -> bool:
        """Nothing is left over."""
        return not self.next and not self.old


def place(stand: Stand) -> Place:
    if stand.old:
        if not stand.main:
            return "aside"
        return {"created": "swapped", "exited": "ended", "dead": "ended"}.get(stand.main, "started")  # type: ignore[return-value]
    if not stand.next:
        return "untouched"
    if not stand.main:
        return "orphan"
    return "stopped" if stand.main in ("created", "exited", "dead") else "prepared"


def on(here: Place) -> tuple[Step, ...]:
    return _ORPHAN if here == "orphan" else _ON[_ON_FROM[here] :]


def back(here: Place) -> tuple[Step, ...]:
    return _ORPHAN if here == "orphan" else _BACK[_BACK_FROM[here] :]


def hurry(here: Place) -> tuple[Step, ...]:
    return _HURRY[here]


def leads_on(here: Place) -> bool:
    """Whether a run that was killed here is finished, or undone."""
    return here in ("swapped", "started", "orphan")
