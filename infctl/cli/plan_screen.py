"""The screen of `infctl plan`, as lines. Pure.

heading · a row an engine on its card, with a bar · a row a model · idle memory, notes, warnings
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from infctl.cli.bars import ASCII, UNICODE, Glyphs, Part, bar
from infctl.cli.figures import GIB, as_is, doubt, gib, gib_band, labelled, plain, shortened, source
from infctl.cli.text import Column, fitted, number, plural, table
from infctl.errors import Problem
from infctl.figure import Figure
from infctl.plan import Plan, Replica, Setting
from infctl.sizing import MemoryNeed

BAR_LEAST = 10
BAR_MOST = 28
WIDE = 100
"""Columns from which a figure of less interest shows its doubt too."""
Paint = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class _Row:
    """One engine on one card, or a card without one."""

    card: str
    """`GPU 0`; empty on the further rows of a shared card."""
    parts: tuple[tuple[Part, int], ...]
    engine: str
    need: MemoryNeed | None
    kept: str
    free: str


def lines(
    name: str,
    plan: Plan,
    width: int,
    *,
    memory_bytes: int | None = None,
    utf8: bool = True,
    paint: Paint = lambda text, _style: text,
) -> list[str]:
    """`memory_bytes`: of the machine, for engines on its CPU. `utf8` False: all in ASCII."""
    words = as_is if utf8 else plain
    glyphs = UNICODE if utf8 else ASCII
    rows = [*_cards(plan), *_machine(plan, memory_bytes)]
    title = labelled("", words(heading(name, plan, memory_bytes)), width, indent=0)
    out = [*(paint(line, "bold") for line in title), ""]
    out += _memory_table(rows, width, glyphs, words, paint)
    seen = {part for row in rows for part, count in row.parts if count > 0}
    if seen:
        out += ["", *_legend(glyphs.legend(tuple(seen)), width)]
    out += ["", *table(shortened(_models(plan), width, words), width, paint)]
    told = [line for label, text in says(plan) for line in _said(label, words(text), width, paint)]
    return [*out, "", *told] if told else out


def heading(name: str, plan: Plan, memory_bytes: int | None = None) -> str:
    """`inference-platform · 5 engines on 4 x L4 (22.05 GiB each)`."""
    kinds = Counter((gpu.name or "GPU", gpu.memory_bytes) for gpu in plan.gpus)
    cards = []
    for (card, size), count in kinds.items():
        each = " each" if count > 1 else ""
        cards.append(f"{count} x {card}" + (f" ({size / GIB:.2f} GiB{each})" if size else ""))
    if any(not replica.gpus for replica in plan.replicas):
        cards.append("the CPU" + (f" ({memory_bytes / GIB:.1f} GiB of memory)" if memory_bytes else ""))
    return f"{name} · {plural(len(plan.replicas), 'engine')} on {', '.join(cards)}"


def work(need: MemoryNeed) -> Figure:
    """All that is neither weights nor KV cache: activations, CUDA graphs, libraries, the CUDA context."""
    return need.activation + need.cudagraphs + need.non_torch + need.context


def says(plan: Plan) -> Iterator[tuple[str, str]]:
    """(label, sentence): idle memory, start order, what is easily misread, warnings."""
    for idle in plan.idle_memory:
        yield "idle", idle.says
    yield from (("start", text) for text in _start_order(plan))
    for problem in plan.notes:
        place = f"{problem.where}  " if problem.where else ""
        yield "note", f"{place}{problem.message}" + (f" ({problem.hint})" if problem.hint else "")
    yield from (("note", text) for text in notes(plan))
    told = []
    for problem in plan.warnings:
        told.append(problem.message)
        yield "warning", _told(problem)
    for model, replica in _first_replicas(plan).items():
        for text in (*_warnings(replica), *_fact_warnings(plan, model)):
            if text not in told:
                told.append(text)
                yield "warning", f"{model}: {text}"


def notes(plan: Plan) -> Iterator[str]:
    """What people expect otherwise, and the plan has not said already."""
    needs = {name: replica.need for name, replica in _first_replicas(plan).items() if replica.need}
    said = {problem.path.split("/")[1] for problem in plan.notes if problem.path.count("/") > 1}
    empty = [name for name, need in needs.items() if need.kv is None and name not in said]
    if empty:
        yield f"{' and '.join(empty)} keep{'s' * (len(empty) == 1)} no KV cache (encoders)"
    if any(need.kv is not None and doubt(need.kv_tokens) for need in needs.values()):
        yield "after the first start infctl knows the exact figures and plans with them"


def why_lines(
    plan: Plan, width: int, *, utf8: bool = True, paint: Paint = lambda text, _style: text
) -> list[str]:
    """The flags each engine gets and the reason of each; replicas that get the same stand together."""
    words = as_is if utf8 else plain
    groups: dict[tuple[str, tuple[Setting, ...]], list[str]] = {}
    for replica in plan.replicas:
        key = replica.model if replica.settings else ""
        groups.setdefault((key, replica.settings), []).append(replica.service)
    out: list[str] = []
    for (_, settings), services in groups.items():
        out += ["", *(paint(line, "bold") for line in labelled("", ", ".join(services), width, indent=0))]
        if not settings:
            out.append("  nothing beyond the profile")
        widest = max((len(f"{one.flag} {one.value}") for one in settings), default=0)
        for one in settings:
            told = f"  {one.flag} {one.value}".rstrip()
            if widest + 4 + 30 <= width:
                out += labelled(told, words(one.why), width, indent=widest + 4)
            else:
                out += [told, *labelled("", words(one.why), width, indent=6)]
    return out


def _legend(items: Sequence[str], width: int) -> list[str]:
    """Items are not broken."""
    glued = "   ".join(item.replace(" ", "\0") for item in items)
    return [line.replace("\0", " ") for line in labelled("GiB", glued, width, indent=5)]


def _told(problem: Problem) -> str:
    return f"{problem}" + (f" ({problem.hint})" if problem.hint else "")


def _said(label: str, text: str, width: int, paint: Paint) -> list[str]:
    told = labelled(label, text, width)
    style = "warning" if label == "warning" else "bold"
    return [told[0].replace(label, paint(label, style), 1), *told[1:]]


def _first_replicas(plan: Plan) -> dict[str, Replica]:
    first: dict[str, Replica] = {}
    for replica in plan.replicas:
        first.setdefault(replica.model, replica)
    return first


def _warnings(replica: Replica) -> tuple[str, ...]:
    return replica.need.warnings if replica.need is not None else ()


def _fact_warnings(plan: Plan, model: str) -> tuple[str, ...]:
    facts = plan.facts.get(model)
    return facts.warnings if facts is not None else ()


def _start_order(plan: Plan) -> Iterator[str]:
    """A sentence for the engines that share cards."""
    waiting = {replica.service for replica in plan.replicas if replica.starts_after is not None}
    shared: dict[tuple[str, ...], list[str]] = {}
    for use in plan.uses:
        if waiting.intersection(use.services):
            shared.setdefault(use.services, []).append(str(use.gpu.index))
    for services, cards in shared.items():
        yield (
            f"on GPU {', '.join(cards)} one after the other: {', '.join(services)};"
            " vLLM counts what a neighbour takes meanwhile as its own"
        )


# Cards


def _cards(plan: Plan) -> Iterator[_Row]:
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


def _machine(plan: Plan, memory_bytes: int | None) -> Iterator[_Row]:
    on_cpu = [replica for replica in plan.replicas if not replica.gpus]
    if on_cpu:
        used = sum(_footprint(replica) for replica in on_cpu)
        free = None if memory_bytes is None else max(memory_bytes - used, 0)
        yield from _rows("CPU", memory_bytes or used, on_cpu, 0, free)


def _rows(card: str, total: int, sharers: Sequence[Replica], kept: int, free: int | None) -> Iterator[_Row]:
    """Each engine's row shows its own part of the card, and the others' as such."""
    rest = max(total - sum(_footprint(replica) for replica in sharers) - kept, 0)
    end: list[tuple[Part, int]] = [("kept", kept), ("free", rest)]
    kept_cell = gib(kept) if kept else "-"
    free_cell = "-" if free is None else gib(free)
    if not sharers:
        yield _Row(card, tuple(end), "nothing", None, kept_cell, free_cell)
    for number_, replica in enumerate(sharers):
        before: list[tuple[Part, int]] = [("other", _footprint(other)) for other in sharers[:number_]]
        after: list[tuple[Part, int]] = [("other", _footprint(other)) for other in sharers[number_ + 1 :]]
        first = number_ == 0
        yield _Row(
            card if first else "",
            (*before, *_parts(replica.need), *after, *end),
            replica.service,
            replica.need,
            kept_cell if first else "",
            free_cell if first else "",
        )


def _footprint(replica: Replica) -> int:
    return sum(count for _, count in _parts(replica.need))


def _parts(need: MemoryNeed | None) -> tuple[tuple[Part, int], ...]:
    if need is None:
        return ()
    return (
        ("weights", need.weights.expected),
        ("work", work(need).expected),
        ("kv", max(need.kv_bytes.expected, 0)),
    )


def _memory_table(
    rows: Sequence[_Row], width: int, glyphs: Glyphs, words: Callable[[str], str], paint: Paint
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


def _models(plan: Plan) -> tuple[Column, ...]:
    firsts = _first_replicas(plan)
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
            tuple(_tokens(need, copies[name]) for name, need in zip(firsts, needs, strict=True)),
            right=True,
        ),
        Column("at once", tuple(_at_once(need) for need in needs), right=True, sacrifice=1),
        Column("from", tuple(_from(need) for need in needs)),
    )


def _tokens(need: MemoryNeed | None, copies: int) -> str:
    if need is None or need.kv is None:
        return "-"
    return number(need.kv_tokens.expected) + (" each" if copies > 1 else "")


def _at_once(need: MemoryNeed | None) -> str:
    if need is None or need.kv is None:
        return "-"
    requests = need.kv.concurrency
    told = f"{requests:,.0f}" if requests >= 100 else f"{requests:.1f}"
    return f"{told} x {need.resolved.max_model_len:,}"


def _from(need: MemoryNeed | None) -> str:
    if need is None:
        return "not sized"
    if need.kv is not None:
        return source(need.kv_tokens)
    return source(need.footprint)
