"""What the gateway asks of a store, whichever it is. Calls block: they belong on a thread of their own.

Every call either has its whole effect or none, and raises StoreDown where it cannot be known which. Nothing
waits longer than the store's own time limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.policy.exchange import Answer, Exchange, Overview, Use, Wanted
from gateway.policy.keys import Key


class StoreRefused(Exception):  # noqa: N818 - what it is
    """The store cannot be used as it is: says what, where, and what to do."""


class Settings(msgspec.Struct, frozen=True):
    """What was set at run time, and how often anything of it has changed."""

    generation: int
    figures: dict[str, str]
    """Scope -> `levels.Figures` as JSON."""
    keys: tuple[Key, ...]


class Store(Protocol):
    def exchange(self, given: Exchange) -> Answer:
        """Counts and grants; the same again for the same exchange. Committed to disk before it returns."""

    def wanted(self, worker: str) -> tuple[Wanted, ...]:
        """What others lack of what this worker holds. Cheap: asked 20 times a second."""

    def generation(self) -> int:
        """Changes with every key and setting."""

    def settings(self) -> Settings: ...
    def put_figures(self, scope: str, said: str | None) -> int:
        """None: takes them away. The new generation."""

    def put_key(self, key: Key) -> int:
        """New, or changed. The new generation."""

    def drop_key(self, key_id: str) -> int: ...
    def change(
        self, generation: int, figures: Mapping[str, str | None], keys: Mapping[str, Key | None]
    ) -> int | None:
        """All of it, if nothing was changed since `generation`: the new one. None: something was, look again.

        By scope and by id; None takes away.
        """

    def put_used(self, used: Mapping[str, float]) -> None:
        """When keys were last used, by id: the latest of what is told. The generation stays as it is."""

    def used(self) -> Mapping[str, float]: ...
    def reset(self, counter: str) -> None:
        """Forgets what was settled in the windows that are open, and what dead workers held of them."""

    def overview(self, prefix: str = "") -> Sequence[Overview]:
        """Counters of the windows that are open, by name."""

    def usage(
        self,
        since: str,
        until: str,
        tenant: str | None = None,
        *,
        after: tuple[str, str, str] = ("", "", ""),
        most: int | None = None,
    ) -> Sequence[Use]:
        """In the order of day (first and last), tenant, model: at most so many that come `after`."""

    def clock_s(self) -> float:
        """Unix seconds, by which windows open and close."""

    def close(self) -> None: ...
