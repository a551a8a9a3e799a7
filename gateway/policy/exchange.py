"""What a worker and the store of counts tell each other: one `Exchange` up, one `Answer` down. Values only.

Rule 1: a worker has one exchange under way. Its number goes up; one that is sent again, because its answer
was lost, is answered as before, and counted once.
Rule 2: what a line reports was granted to this worker before; what it asks for is granted in the store first.
Rule 3: a line's period is the window that gave the lease. A window may have closed since: its history is put
right, the new window is not touched.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.policy.limits import Kind, Span

BEAT_S: Final = 1.0
"""Between two exchanges of a worker that holds anything."""
DEAD_S: Final = 5.0
"""Without an exchange: the worker is taken for dead, and its share of rates and slots is free again."""
HUNGER_S: Final = 0.5
"""A worker that lacks something and does not ask again within this no longer lacks it."""

NO_PERIOD: Final = ""
"""Of rates and slots."""


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One counter: what became of the lease, and what is asked for now."""

    counter: str
    kind: Kind
    span: Span | None
    amount: int
    """The limit, as this worker knows it."""
    per_s: float = 0.0
    period: str = NO_PERIOD
    settled: int = 0
    """Used, of what was granted."""
    unknown: int = 0
    """... of that: settled as reserved, because nobody knows."""
    returned: int = 0
    """Granted and given back."""
    credit: int = 0
    """rate: taken before, and not used after all."""
    claim: int = -1
    """slots: held whatever the store believes, after it took this worker for dead. -1: no claim."""
    yielded: int = 0
    """All that was unused has been given back for this generation of hunger."""
    need: int = 0
    """Asked for: so much, or nothing."""
    want: int = 0
    """... and up to so much, if there is plenty."""


class Use(msgspec.Struct, frozen=True, array_like=True):
    """For the history: what a tenant used of a model on a day."""

    day: str
    tenant: str
    model: str
    requests: int
    prompt: int
    completion: int
    unknown: int


class Exchange(msgspec.Struct, frozen=True, array_like=True):
    worker: str
    """One life of one process: never used again."""
    seq: int
    """From 1."""
    lines: tuple[Line, ...] = ()
    uses: tuple[Use, ...] = ()
    leaving: bool = False
    """The last one: all is settled or given back."""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """Of one line that asked."""

    counter: str
    period: str
    """The window it belongs to, by the store's clock."""
    end_s: int
    """Of the window; 0: it has none."""
    amount: int
    """0: there is not as much as was needed."""
    left: int
    """Free in the store, after this."""
    final: bool
    """Not granted, and nobody alive holds an unused share: it is used up."""
    retry_s: float
    """rate: until as much as was needed has come back."""


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """Somebody else lacks what this worker holds."""

    counter: str
    period: str
    generation: int


class Answer(msgspec.Struct, frozen=True, array_like=True):
    seq: int
    clock_s: float
    """The store's, Unix; it never goes back."""
    grants: tuple[Grant, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    workers: int = 1
    """Alive, this one included."""
    revived: bool = False
    """It had been taken for dead: rates and slots it held are somebody else's by now."""


class StoreDown(Exception):  # noqa: N818 - a state, not a slip
    """The store gave no answer. Says which and why; whether an exchange counted is not known."""


class Overview(msgspec.Struct, frozen=True):
    """One counter in one window, for people."""

    counter: str
    period: str
    settled: int
    unknown: int
    leased: int
    level: float = -1.0
    """rate: what could be taken at `at_s`, beside what is leased; below 0: nobody has taken anything yet."""
    at_s: float = 0.0
