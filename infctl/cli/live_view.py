"""What the live screen of `infctl status --watch` shows, as a value. Pure.

Of the platform's own look (states, memory, breakers) and of the pages of metrics of the last five minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infctl.cli.facts import PlatformFacts, ServiceFact
from infctl.gpus.busy import Busy
from infctl.watch.counts import Calls, Counts, Engine, p95
from infctl.watch.past import ERRORS_S, RATE_S, Past

REFUSED_SHOWN: Final = 5
"""Tenants whose calls were refused of late."""


@dataclass(frozen=True, slots=True)
class Row:
    """One backend of one model."""

    model: str
    backend: str
    state: str
    device: str
    memory_bytes: int | None
    planned_bytes: int | None
    kv_use: float | None
    in_flight: int | None
    capacity: int | None
    queue: int | None
    """Calls that wait for a place at any of the model's backends; on its first row alone."""
    inside: int | None
    """Calls that wait inside the engine."""
    requests_per_s: float | None
    tokens_per_s: float | None
    first_p95_s: float | None
    """At the engine's door."""
    errors: float | None
    """The platform's, in `View.errors_s`."""
    expected_in_s: float | None = None
    """Until one that is loading is likely to be ready."""


@dataclass(frozen=True, slots=True)
class Client:
    """A model as its clients see it."""

    model: str
    requests_per_s: float | None
    tokens_per_s: float | None
    first_p95_s: float | None
    waiting: int
    errors: float | None
    refused: float | None


@dataclass(frozen=True, slots=True)
class View:
    name: str
    now: float
    """Seconds since the epoch."""
    up_s: float | None
    ready: int
    services: int
    rows: tuple[Row, ...]
    clients: tuple[Client, ...]
    cards: tuple[tuple[Busy, str, int | None], ...]
    """GPU, the engines on it, what was planned for them."""
    others: tuple[ServiceFact, ...]
    """Gateway, edge, monitoring, supervisor."""
    down: tuple[tuple[str, str], ...]
    """Whose figures are missing, and why."""
    near: tuple[Mapping[str, Any], ...]
    refused: tuple[tuple[str, str, float], ...]
    """(tenant, reason, how many), the most first."""
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    rate_s: float
    """What requests and tokens a second are means over; 0: there was one look only."""
    errors_s: float
    """What errors, refusals and p95 are of."""


def view(facts: PlatformFacts, past: Past, cards: tuple[Busy, ...] = ()) -> View:
    engines = [row for row in facts.services if row.role == "engine"]
    own = [row for row in facts.services if row.role != "supervisor"]
    since = min((row.started_at for row in own if row.started_at is not None), default=None)
    now = past.now
    return View(
        name=facts.name,
        now=facts.now,
        up_s=None if since is None else facts.now - since,
        ready=sum(row.state == "ready" for row in own),
        services=len(own),
        rows=tuple(_rows(engines, past)),
        clients=tuple(_clients(past)),
        cards=tuple(_cards(engines, cards)),
        others=tuple(row for row in facts.services if row.role != "engine"),
        down=tuple(sorted(now.down.items())),
        near=facts.near_limits,
        refused=tuple(_refused(past)),
        notes=(*(f"{row.name}: {row.why}" for row in facts.services if row.why), *facts.notes),
        warnings=facts.warnings,
        rate_s=_span(past, RATE_S),
        errors_s=_span(past, ERRORS_S),
    )


def _rows(engines: list[ServiceFact], past: Past) -> Iterator[Row]:
    seen: set[str] = set()
    for fact in sorted(engines, key=lambda one: (one.models, one.name)):
        model = ", ".join(fact.models) or "-"
        first = model not in seen
        seen.add(model)
        yield _row(fact, model, past, first=first)


def _row(fact: ServiceFact, model: str, past: Past, *, first: bool) -> Row:
    now, name = past.now, fact.name
    told = now.engines.get(name, Engine())
    moved = past.calls(lambda one: one.backends, fact.backend, RATE_S) if fact.backend else None
    late = past.calls(lambda one: one.backends, fact.backend, ERRORS_S) if fact.backend else None
    earlier = past.before(ERRORS_S, lambda one: name in one.engines)
    queue = sum(now.waiting.get(one, 0.0) for one in fact.models)
    return Row(
        model=model if first else "",
        backend=fact.backend or name,
        state=f"breaker {fact.breaker.replace('_', ' ')}"
        if fact.state == "ready" and fact.breaker not in ("", "closed")
        else fact.state,
        device=fact.device,
        memory_bytes=fact.memory_bytes,
        planned_bytes=fact.planned_bytes,
        kv_use=told.kv_use if told.tokens_out else None,
        in_flight=round(flying)
        if (flying := now.in_flight.get(fact.backend)) is not None
        else fact.in_flight,
        capacity=fact.capacity,
        queue=round(queue) if first and now.told else None,
        inside=None if told.waiting is None else round(told.waiting),
        requests_per_s=None if moved is None else moved.per_s(moved.calls.requests),
        tokens_per_s=past.rate(lambda one: _tokens(one, name)) if told.tokens_out else None,
        first_p95_s=None if earlier is None else p95(earlier.engines[name].first, told.first),
        errors=None if late is None else late.calls.faults,
        expected_in_s=fact.expected_in_s,
    )


def _tokens(counts: Counts, engine: str) -> float | None:
    return counts.engines.get(engine, Engine()).tokens_out


def _clients(past: Past) -> Iterator[Client]:
    now = past.now
    for model in sorted({*now.models, *now.waiting}):
        moved = past.calls(lambda one: one.models, model, RATE_S)
        late = past.calls(lambda one: one.models, model, ERRORS_S)
        earlier = past.before(ERRORS_S, lambda one: one.told)
        before = {} if earlier is None else earlier.first.get(model, {})
        calls: Calls | None = None if late is None else late.calls
        yield Client(
            model=model,
            requests_per_s=None if moved is None else moved.per_s(moved.calls.requests),
            tokens_per_s=None if moved is None else moved.per_s(moved.calls.tokens_out),
            first_p95_s=None if earlier is None else p95(before, now.first.get(model, {})),
            waiting=round(now.waiting.get(model, 0.0)),
            errors=None if calls is None else calls.faults,
            refused=None if calls is None else calls.refused,
        )


def _cards(engines: list[ServiceFact], cards: tuple[Busy, ...]) -> Iterator[tuple[Busy, str, int | None]]:
    for card in cards:
        on = [row for row in engines if str(card.index) in row.device.split(",")]
        planned = [row.planned_bytes for row in on if row.planned_bytes is not None]
        yield card, ", ".join(row.name for row in on), sum(planned) if planned else None


def _refused(past: Past) -> list[tuple[str, str, float]]:
    before = past.before(ERRORS_S, lambda one: one.told)
    if before is None or not past.now.told:
        return []
    moved = (
        (tenant, reason, total - before.refusals.get((tenant, reason), 0.0))
        for (tenant, reason), total in past.now.refusals.items()
    )
    return sorted((one for one in moved if one[2] > 0), key=lambda one: (-one[2], one[:2]))[:REFUSED_SHOWN]


def _span(past: Past, span_s: float) -> float:
    before = past.before(span_s, lambda one: one.told) or past.before(span_s)
    return 0.0 if before is None else past.now.at - before.at
