"""How many connections all pools may have together, and how many of these idle."""

from __future__ import annotations

from typing import Protocol


class Member(Protocol):
    def drop_idle(self) -> bool:
        """Close one idle connection. False: there is none."""


class Budget:
    """Counts; the limits are those of the configuration in force."""

    __slots__ = ("idle", "members", "open")

    def __init__(self) -> None:
        self.open = 0
        """Made or being made, idle ones included."""
        self.idle = 0
        self.members: set[Member] = set()

    def room(self, limit: int) -> bool:
        """For one more connection: where there is none, an idle one of any pool makes way."""
        return self.open < limit or any(member.drop_idle() for member in self.members)
