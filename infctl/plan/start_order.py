"""In which order engines that share a card start. Pure.

vLLM looks at its start whether the share it was told is free, and every neighbour that runs by then has taken
its own part. An engine whose gate asks for more than it will take must therefore come early: ordered by that
surplus, largest first, the starts succeed if any order does. The plan's own gates have none. Equal ones: the
largest first, in whole GiB, so that the engine whose plan is tightest meets the emptiest card; then profile
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infctl.figure import GIB


@dataclass(frozen=True, slots=True)
class Starter:
    service: str
    gate: int
    """Bytes that must be free."""
    taken: int
    """Bytes it then takes, context included."""
    context: int
    """Bytes of them that are gone before it looks."""
    planned: bool = False
    """The gate is the plan's own: what is taken, give or take its band."""

    @property
    def surplus(self) -> int:
        return 0 if self.planned else self.gate + self.context - self.taken


def in_order(starters: Sequence[Starter]) -> tuple[Starter, ...]:
    return tuple(sorted(starters, key=lambda one: (-one.surplus, -(one.taken // GIB))))


def shut_out(starters: Sequence[Starter], total: int) -> tuple[tuple[Starter, int], ...]:
    """Those whose gate stays closed in this order, and how many bytes are free at their turn."""
    free = total
    found = []
    for one in starters:
        if one.gate > free - one.context:
            found.append((one, free - one.context))
        free -= one.taken
    return tuple(found)
