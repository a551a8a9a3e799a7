"""The two tables of a plan: a row an engine on its card, and a row a model. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from infctl.cli.bars import Glyphs, Part, bar
from infctl.cli.figures import gib, gib_band, shortened, source
from infctl.cli.text import Column, Paint, fitted, number, table
from infctl.figure import Figure
from infctl.plan import Plan, Replica
from infctl.sizing import MemoryNeed

Number = TypeVar("Number", int, float)

BAR_LEAST = 10
BAR_MOST = 28
WIDE = 100
"""Columns from which a figure of less interest shows its doubt too."""


@dataclass(frozen=True, slots=True)
class Row:
    """One engine on one card, or a card without one."""

    card: str
    """`GPU 0`; empty on the further rows of a shared card."""
    parts: tuple[tuple[Part, int], ...]
    engine: str
    need: MemoryNeed | None
    kept: str
    free: str


def work(need: MemoryNeed) -> Figure:
    """All that is neither weights nor KV cache: activations, CUDA graphs, libraries, the CUDA context."""
    if need.kv is not None and need.resolved.kv_cache_memory_bytes is None:
        return need.profiled + need.context
    return need.work(max(need.kv_bytes.expected, 0))


def first_replicas(plan: Plan) -> dict[str, Replica]:
    first: dict[str, Replica] = {}
    for replica in plan.replicas:
        first.setdefault(replica.model, replica)
    return first


# Cards


def card_rows(plan: Plan) -> Iterator[Row]:
    by_service = {replica.service: replica for replica in plan.replicas}
    for use in plan.uses:
        sharers = [by_service[service] for service in use.services if service in by_service]
        yield from _rows(
            f"GPU {use.gpu.index}", use.gpu.memory_bytes, sharers, use.headroom_bytes, use.free_bytes
        )
    if not plan.uses:
        for gpu in plan.gpus:
            sharers = [replica for replica in plan.replicas if gpu in replica.gpus]
            yield from _rows(f"GPU {gpu.index}", gpu.memory_bytes, sharers, 0, None)


def machine_rows(plan: Plan, memory_bytes: int | None) -> Iterator[Row]:
    on_cpu = [replica for replica in plan.replicas if not replica.gpus]
    if on_cpu:
        used = sum(footprint(replica) for replica in on_cpu)
        free = None if memory_bytes is None else max(memory_bytes - used, 0)
        yield from _rows("CPU", memory_bytes or used, on_cpu, 0, free)


def _rows(card: str, total: int, sharers: Sequence[Replica], kept: int, free: int | None) -> Iterator[Row]:
    """Each engine's row shows its own part of the card, and the others' as such."""
    rest = max(total - sum(footprint(replica) for replica in sharers) - kept, 0)
    end: list[tuple[Part, int]] = [("kept", kept), ("free", rest)]
    kept_cell = gib(kept) if kept else "-"
    free_cell = "-" if free is None else gib(free)
    if not sharers:
        yield Row(card, tuple(end), "nothing", None, kept_cell, free_cell)
    for number_, replica in enumerate(sharers):
        before: list[tuple[Part, int]] = [("other", footprint(other)) for other in sharers[:number_]]
        after: list[tuple[Part, int]] = [("other", footprint(other)) for other in sharers[number_ + 1 :]]
        first = number_ == 0
        yield Row(
            card if first else "",
            (*before, *_parts(replica.need), *after, *end),
            replica.service,
            replica.need,
            kept_cell if first else "",
            free_cell if first else "",
        )


def footprint(replica: Replica) -> int:
    return sum(count for _, count in _parts(replica.need))


def _parts(need: MemoryNeed | None) -> tuple[tuple[Part, int], ...]:
    if need is None:
        return ()
    return (
        ("weights", need.weights.expected),
        ("work", work(need).expected),
        ("kv", max(need.kv_bytes.expected, 0)),
    )


def memory_table(
    rows: Sequence[Row], width: int, glyphs: Glyphs, words: Callable[[str], str], paint: Paint
) -> list[str]:
    def columns(bars: int) -> tuple[Column, ...]:
        needs = [row.need for row in rows]
        drawn = tuple(bar(row.parts, bars, glyphs) for row in rows)
        told = gib_band if width >= WIDE else _expected
        return (
            Column("", tuple(row.card for row in rows)),
            *((Column("memory", drawn, sacrifice=2),) if any(drawn) else ()),
            Column("engine", tuple(row.engine for row in rows)),
            Column("weights", tuple(_expected(n.weights) if n else "-" for n in needs), right=True),
            Column("work", tuple(told(work(n)) if n else "-" for n in needs), right=True, sacrifice=3),
            Column("KV cache", tuple(_kv_cell(n) for n in needs), right=True),
            Column("kept", tuple(row.kept for row in rows), right=True, sacrifice=4),
            Column("unused", tuple(row.free for row in rows), right=True),
        )

    # The bar takes what the words leave, within limits.
    kept = fitted(shortened(columns(BAR_LEAST), width, words), width)
    room = width - sum(column.width for column in kept) - 2 * (len(kept) - 1)
    bars = max(BAR_LEAST, min(BAR_MOST, BAR_LEAST + room))
    return table(shortened(columns(bars), width, words), width, paint)


def _expected(figure: Figure) -> str:
    return gib(figure.expected)


def _kv_cell(need: MemoryNeed | None) -> str:
    return "-" if need is None or need.kv is None else gib_band(need.kv_bytes)


# Models


def model_columns(plan: Plan) -> tuple[Column, ...]:
    firsts = first_replicas(plan)
    copies = Counter(replica.model for replica in plan.replicas)
    needs = [replica.need for replica in firsts.values()]
    return (
        Column("model", tuple(firsts)),
        Column("replicas", tuple(str(copies[name]) for name in firsts), right=True, sacrifice=2),
        Column(
            "context",
            tuple(number(need.resolved.max_model_len if need else None) for need in needs),
            right=True,
            sacrifice=3,
        ),
        Column(
            "KV tokens",
            tuple(_tokens(_needs(plan, name)) for name in firsts),
            right=True,
        ),
        Column("at once", tuple(_at_once(_needs(plan, name)) for name in firsts), right=True, sacrifice=1),
        Column("from", tuple(_from(need) for need in needs)),
    )


def _needs(plan: Plan, model: str) -> tuple[MemoryNeed, ...]:
    """Of the replicas that keep a cache; a neighbour, or a smaller card, may leave one of them less."""
    needs = (replica.need for replica in plan.replicas if replica.model == model)
    return tuple(need for need in needs if need is not None and need.kv is not None)


def _tokens(needs: Sequence[MemoryNeed]) -> str:
    if not needs:
        return "-"
    told = _span([need.kv_tokens.expected for need in needs], number)
    return told + (" each" if len(needs) > 1 and " .. " not in told else "")


def _at_once(needs: Sequence[MemoryNeed]) -> str:
    if not needs:
        return "-"

    def told(requests: float) -> str:
        return f"{requests:,.0f}" if requests >= 100 else f"{requests:.1f}"

    span = _span([need.kv.concurrency for need in needs if need.kv is not None], told)
    return f"{span} x {needs[0].resolved.max_model_len:,}"


def _span(values: Sequence[Number], told: Callable[[Number], str]) -> str:
    """`73,856`; `15,920 .. 103,216` where they are not alike."""
    low, high = told(min(values)), told(max(values))
    return low if low == high else f"{low} .. {high}"


def _from(need: MemoryNeed | None) -> str:
    if need is None:
        return "not sized"
    if need.kv is not None:
        return source(need.kv_tokens)
    return source(need.footprint)
