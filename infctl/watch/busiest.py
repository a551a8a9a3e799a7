"""Who is busiest: tenants, models or backends, in an order that a person chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from infctl.watch.counts import Calls, Counts
from infctl.watch.past import Past

By = Literal["tenant", "model", "backend"]
Sort = Literal["requests", "tokens", "errors", "refused"]
BYS: Final[tuple[By, ...]] = ("tenant", "model", "backend")
SORTS: Final[tuple[Sort, ...]] = ("requests", "tokens", "errors", "refused")


@dataclass(frozen=True, slots=True)
class Busy:
    """One of them, over `Busiest.seconds`."""

    name: str
    calls: Calls
    """In these seconds."""
    total: Calls
    """Since the gateway began."""


@dataclass(frozen=True, slots=True)
class Busiest:
    by: By
    sort: Sort
    rows: tuple[Busy, ...]
    """The busiest first."""
    seconds: float
    """0: there was one look only, and the order is that of the totals."""
    down: str
    """Why the gateway's figures are missing; empty: they are there."""

    def per_s(self, count: float) -> float | None:
        return count / self.seconds if self.seconds else None


def of(counts: Counts, by: By) -> Mapping[str, Calls]:
    return {"tenant": counts.tenants, "model": counts.models, "backend": counts.backends}[by]


def busiest(past: Past, by: By, sort: Sort, span_s: float) -> Busiest:
    now = past.now
    before = past.before(span_s, lambda one: one.told)
    known = before is not None and now.told
    rows = []
    for name, total in of(now, by).items():
        moved = None if before is None else total.since(of(before, by).get(name, Calls()))
        rows.append(Busy(name, moved or Calls(), total))
    rows.sort(key=lambda one: (-_key(one.calls, sort), -_key(one.total, sort), -one.total.requests, one.name))
    seconds = now.at - before.at if before is not None and known else 0.0
    return Busiest(by, sort, tuple(rows), seconds, now.down.get("gateway", ""))


def _key(calls: Calls, sort: Sort) -> float:
    return {
        "requests": calls.requests,
        "tokens": calls.tokens_in + calls.tokens_out,
        "errors": calls.faults,
        "refused": calls.refused,
    }[sort]
