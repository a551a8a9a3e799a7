"""The screen of `infctl plan`, as lines. Pure.

heading · a row an engine on its card, with a bar · a row a model · idle memory, notes, warnings
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from infctl.cli.bars import ASCII, UNICODE
from infctl.cli.figures import as_is, doubt, labelled, plain, shortened
from infctl.cli.plan_tables import card_rows, first_replicas, machine_rows, memory_table, model_columns
from infctl.cli.text import Paint, plural, table, unpainted
from infctl.errors import Problem
from infctl.figure import gib
from infctl.plan import Plan, Replica, Setting


def lines(
    name: str,
    plan: Plan,
    width: int,
    *,
    memory_bytes: int | None = None,
    utf8: bool = True,
    paint: Paint = unpainted,
) -> list[str]:
    """`memory_bytes`: of the machine, for engines on its CPU. `utf8` False: all in ASCII."""
    words = as_is if utf8 else plain
    glyphs = UNICODE if utf8 else ASCII
    rows = [*card_rows(plan), *machine_rows(plan, memory_bytes)]
    title = labelled("", words(heading(name, plan, memory_bytes)), width, indent=0)
    out = [*(paint(line, "bold") for line in title), ""]
    out += memory_table(rows, width, glyphs, words, paint)
    seen = {part for row in rows for part, count in row.parts if count > 0}
    if seen:
        out += ["", *_legend(glyphs.legend(tuple(seen)), width)]
    out += ["", *table(shortened(model_columns(plan), width, words), width, paint)]
    told = [line for label, text in says(plan) for line in _said(label, words(text), width, paint)]
    return [*out, "", *told] if told else out


def heading(name: str, plan: Plan, memory_bytes: int | None = None) -> str:
    """`inference-platform · 5 engines on 4 x L4 (22.05 GiB each)`."""
    kinds = Counter((gpu.name or "GPU", gpu.memory_bytes) for gpu in plan.gpus)
    cards = []
    for (card, size), count in kinds.items():
        each = " each" if count > 1 else ""
        cards.append(f"{count} x {card}" + (f" ({gib(size, 2)}{each})" if size else ""))
    if any(not replica.gpus for replica in plan.replicas):
        cards.append("the CPU" + (f" ({gib(memory_bytes)} of memory)" if memory_bytes else ""))
    return f"{name} · {plural(len(plan.replicas), 'engine')} on {', '.join(cards)}"


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
    for model, replica in first_replicas(plan).items():
        for text in (*_warnings(replica), *_fact_warnings(plan, model)):
            if text not in told:
                told.append(text)
                yield "warning", f"{model}: {text}"


def notes(plan: Plan) -> Iterator[str]:
    """What people expect otherwise, and the plan has not said already."""
    needs = {name: replica.need for name, replica in first_replicas(plan).items() if replica.need}
    said = {problem.path.split("/")[1] for problem in plan.notes if problem.path.count("/") > 1}
    empty = [name for name, need in needs.items() if need.kv is None and name not in said]
    if empty:
        yield f"{' and '.join(empty)} keep{'s' * (len(empty) == 1)} no KV cache (encoders)"
    if any(need.kv is not None and doubt(need.kv_tokens) for need in needs.values()):
        yield "after the first start infctl knows the exact figures and plans with them"


def why_lines(plan: Plan, width: int, *, utf8: bool = True, paint: Paint = unpainted) -> list[str]:
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
