"""The live screen of `infctl status --watch`: a View as something Rich draws. Pure.

What others wrote (labels, reasons) comes in through `shown`: it is text, whatever it holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infctl.cli.live_view import Client, Row, View
from infctl.cli.quota_screen import near
from infctl.cli.text import Column, duration, fitted, number, size
from infctl.shown import shown

_STYLES = {
    "ready": "green",
    "loading": "yellow",
    "waiting": "yellow",
    "draining": "yellow",
    "drained": "yellow",
    "breaker half open": "yellow",
}
"""Everything else is red."""
_NAME = 24
"""Letters of a model's or a backend's name."""
_WIDEST = 140


def screen(view: View, width: int, height: int) -> RenderableType:
    """What does not fit below is left out; the table is what stays."""
    wide = min(width, _WIDEST)
    parts: list[RenderableType] = [_title(view, wide), table(_columns(view), wide)]
    parts += [*_part(_clients(view.clients, view, wide)), *_part(_cards(view, wide)), *_part(_lines(view))]
    return Group(*parts, *_part([Text(_foot(view), style="dim")])) if height > 6 else Group(*parts[:2])


def _part(found: Sequence[RenderableType]) -> Iterator[RenderableType]:
    """With an empty line before it, where there is any."""
    if found:
        yield Text("")
        yield from found


def _title(view: View, width: int) -> Text:
    up = f"up {duration(view.up_s)}" if view.up_s is not None else "not running"
    right = f"{up} · {time.strftime('%H:%M:%S', time.localtime(view.now))}"
    left = f"{shown(view.name, 40)} · {view.ready} of {view.services} ready"
    return Text.assemble((left, "bold"), " " * max(2, width - len(left) - len(right)), right, no_wrap=True)


def table(columns: Sequence[Column], width: int) -> Table:
    """Those that fit; the cells in their styles."""
    kept = fitted(columns, width)
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=False)
    for column in kept:
        side = "right" if column.right else "left"
        made.add_column(column.title, justify=side, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for cells in zip(*(column.cells for column in kept), strict=True):
        made.add_row(*(_cell(column, cell) for column, cell in zip(kept, cells, strict=True)))
    return made


def _cell(column: Column, cell: str) -> Text:
    return Text(cell, style=column.style(cell) if column.style else "")


def _columns(view: View) -> tuple[Column, ...]:
    rows = view.rows

    def cells(of: Callable[[Row], str]) -> tuple[str, ...]:
        return tuple(of(row) for row in rows)

    window = f"errors {span(view.errors_s)}" if view.errors_s else "errors"
    columns = (
        Column("model", cells(lambda r: shown(r.model, _NAME)), style=lambda _: "bold"),
        Column("backend", cells(lambda r: shown(r.backend, _NAME)), sacrifice=1),
        Column("state", cells(_state), style=lambda cell: _STYLES.get(cell.partition(",")[0], "bold red")),
        Column("GPU", cells(lambda r: r.device if r.device.isdecimal() else "-"), right=True, sacrifice=5),
        Column("mem used/plan", cells(_memory), right=True, sacrifice=4),
        Column("KV", cells(lambda r: share(r.kv_use)), right=True, sacrifice=3, style=_full),
        Column("in flight", cells(_in_flight), right=True),
        Column("queue", cells(lambda r: number(r.queue)), right=True, style=_some),
        Column("in vLLM", cells(lambda r: number(r.inside)), right=True, sacrifice=6, style=_some),
        Column("req/s", cells(lambda r: rate(r.requests_per_s)), right=True),
        Column("tok/s", cells(lambda r: rate(r.tokens_per_s)), right=True, sacrifice=2),
        Column("TTFT p95", cells(lambda r: milliseconds(r.first_p95_s)), right=True),
        Column(window, cells(lambda r: count(r.errors)), right=True, style=_bad),
    )
    optional = {"GPU", "KV", "in vLLM"}
    return tuple(c for c in columns if c.title not in optional or any(cell != "-" for cell in c.cells))


def _clients(clients: Sequence[Client], view: View, width: int) -> list[RenderableType]:
    """A line a model, as clients see it: with what waited or was refused before it came to a backend."""
    if not clients:
        return []

    def cells(of: Callable[[Client], str]) -> tuple[str, ...]:
        return tuple(of(one) for one in clients)

    within = f" {span(view.errors_s)}" if view.errors_s else ""
    columns = (
        Column("clients see", cells(lambda c: shown(c.model, _NAME)), style=lambda _: "bold"),
        Column("req/s", cells(lambda c: rate(c.requests_per_s)), right=True),
        Column("tok/s", cells(lambda c: rate(c.tokens_per_s)), right=True),
        Column("TTFT p95", cells(lambda c: milliseconds(c.first_p95_s)), right=True),
        Column("waiting", cells(lambda c: number(c.waiting)), right=True, style=_some),
        Column(f"errors{within}", cells(lambda c: count(c.errors)), right=True, style=_bad),
        Column(f"refused{within}", cells(lambda c: count(c.refused)), right=True, sacrifice=1, style=_some),
    )
    return [table(columns, width)]


def _cards(view: View, width: int) -> list[RenderableType]:
    cards = view.cards
    if not cards:
        return []
    used = tuple(_of(card.used_bytes, card.memory_bytes) for card, _, _ in cards)
    columns = (
        Column("GPU", tuple(str(card.index) for card, _, _ in cards), right=True),
        Column("card", tuple(shown(card.name, _NAME) for card, _, _ in cards)),
        Column("engines", tuple(shown(engines, 40) or "-" for _, engines, _ in cards), sacrifice=2),
        Column("used/has", used, right=True),
        Column("planned", tuple(size(planned) for _, _, planned in cards), right=True, sacrifice=1),
        Column("busy", tuple(share(card.load) for card, _, _ in cards), right=True),
        Column("°C", tuple(number(card.celsius) for card, _, _ in cards), right=True, sacrifice=3),
        Column("W", tuple(count(card.watts) for card, _, _ in cards), right=True, sacrifice=3),
    )
    return [table(columns, width)]


def _lines(view: View) -> list[Text]:
    out = []
    others = [f"{one.name} {one.state}" for one in view.others]
    if others:
        out.append(Text("others    " + " · ".join(others), no_wrap=True, overflow="ellipsis"))
    for name, why in view.down:
        out.append(Text(f"no figures of {shown(name, _NAME)}: {shown(why, 160)}", style="bold red"))
    if view.near:
        out.append(Text("tenants near a limit   " + " · ".join(near(view.near)), style="yellow"))
    if view.refused:
        told = (f"{shown(who, _NAME)} {count(n)} ({shown(reason, 30)})" for who, reason, n in view.refused)
        out.append(Text(f"refused in {span(view.errors_s)}   " + " · ".join(told), style="yellow"))
    out += [Text(shown(note, 300)) for note in view.notes]
    out += [Text.assemble(("warning: ", "yellow"), shown(one, 300)) for one in view.warnings]
    return out


def _foot(view: View) -> str:
    if not view.rate_s:
        return "rates need a second look · q ends"
    rates, errors = span(view.rate_s), span(view.errors_s)
    return f"req/s and tok/s of the last {rates}; TTFT, errors, refusals of the last {errors} · q ends"


# Cells


def _state(row: Row) -> str:
    """`loading, 20 s`: until it is likely to be ready."""
    return row.state if row.expected_in_s is None else f"{row.state}, {duration(row.expected_in_s)}"


def _memory(row: Row) -> str:
    """`19.6/19.8 GiB`: used and planned."""
    return _of(row.memory_bytes, row.planned_bytes)


def _of(used: int | None, whole: int | None) -> str:
    if used is None or whole is None:
        return size(used)
    return f"{used / 1024**3:.1f}/{size(whole)}"


def _in_flight(row: Row) -> str:
    return number(row.in_flight) + ("" if row.capacity is None else f"/{row.capacity}")


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def rate(value: float | None) -> str:
    """4.1, 412: what is small has a place."""
    if value is None:
        return "-"
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:,.0f}"


def count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1000 * seconds:,.0f} ms" if seconds < 10 else duration(seconds)


def span(seconds: float) -> str:
    """`10 s`, `5 m`: of a window, as a column's title has it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} m"


def _full(cell: str) -> str:
    return "yellow" if cell.endswith("%") and int(cell.removesuffix(" %")) >= 90 else ""


def _some(cell: str) -> str:
    return "yellow" if cell not in ("-", "0") else ""


def _bad(cell: str) -> str:
    return "bold red" if cell not in ("-", "0") else ""
