"""Who waits for a place, and who is next: fair between tenants by weight, then first come. No clock, no I/O.

    event     of a tenant that waits already     of one that does not
    put       behind its own                     starts at the virtual time, or where its last one ended
    pop       its next one starts 1/weight       -
              later; the last one's end is kept
    remove    costs its tenant nothing           -

Rule 1: the tenant whose next one starts earliest is served; the virtual time is the start of who was served
        last (start-time fair queueing). Between equals, who came first.
Rule 2: who is sent again goes before all others: it has waited already, and the retry budget keeps them few.
Rule 3: at most `limit` wait; the next one is told so at once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

T = TypeVar("T")

REMEMBERED: Final = 1024
"""Tenants of whom nobody waits and whose last end is kept; then those that lie behind are forgotten."""


class Waiter(Generic[T]):
    __slots__ = ("flow", "number", "value", "weight")

    def __init__(self, value: T, flow: _Flow[T], weight: float, number: int) -> None:
        self.value = value
        self.flow = flow
        self.weight = weight
        self.number = number
        """In order of coming."""


class _Flow(Generic[T]):
    """What one tenant has waiting."""

    __slots__ = ("start", "tenant", "waiters")

    def __init__(self, tenant: str, start: float) -> None:
        self.tenant = tenant
        self.start = start
        """Of its next one, in virtual time."""
        self.waiters: OrderedDict[int, Waiter[T]] = OrderedDict()

    @property
    def first(self) -> Waiter[T]:
        return next(iter(self.waiters.values()))


class Queue(Generic[T]):
    def __init__(self, limit: int, *, fair: bool) -> None:
        self.limit = limit
        self._fair = fair
        self._flows: dict[str, _Flow[T]] = {}
        """Of tenants that wait."""
        self._ends: dict[str, float] = {}
        """Of tenants that do not: where their next one starts, at the earliest."""
        self._again: _Flow[T] = _Flow("", 0.0)
        self._size = 0
        self._number = 0
        self._virtual = 0.0

    def __len__(self) -> int:
        return self._size

    def put(self, value: T, tenant: str, weight: float = 1.0, *, again: bool = False) -> Waiter[T] | None:
        """The waiter; None: too many wait. `again`: rule 2."""
        if self._size >= self.limit:
            return None
        flow = self._again if again else self._flow(tenant if self._fair else "")
        self._number += 1
        self._size += 1
        waiter = flow.waiters[self._number] = Waiter(value, flow, weight, self._number)
        return waiter

    def again(self) -> tuple[Waiter[T], ...]:
        """Those of rule 2, in order. `remove` who is served."""
        return tuple(self._again.waiters.values())

    def first(self) -> Waiter[T] | None:
        """Who is next, of all others."""
        flows = self._flows.values()
        return min(flows, key=lambda flow: (flow.start, flow.first.number)).first if flows else None

    def pop(self) -> Waiter[T] | None:
        """`first`, served."""
        waiter = self.first()
        if waiter is not None:
            flow = waiter.flow
            self._virtual = flow.start
            flow.start += 1 / waiter.weight
            self.remove(waiter)
        return waiter

    def remove(self, waiter: Waiter[T]) -> None:
        """It waits no longer. Idempotent."""
        flow = waiter.flow
        if flow.waiters.pop(waiter.number, None) is None:
            return
        self._size -= 1
        if not self._size:  # an empty queue begins anew
            self._flows.clear()
            self._ends.clear()
            self._virtual = 0.0
        elif not flow.waiters and flow is not self._again:
            del self._flows[flow.tenant]
            self._ends[flow.tenant] = flow.start
            if len(self._ends) > REMEMBERED:
                self._ends = {name: end for name, end in self._ends.items() if end > self._virtual}

    def _flow(self, tenant: str) -> _Flow[T]:
        flow = self._flows.get(tenant)
        if flow is None:
            start = max(self._ends.pop(tenant, 0.0), self._virtual)
            flow = self._flows[tenant] = _Flow(tenant, start)
        return flow
