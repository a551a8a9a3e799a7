"""The table of `infctl top`. Pure. Names are others' words: they come in through `shown`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from infctl.cli.text import Column, Paint, unpainted
from infctl.cli.text import table as plain_table
from infctl.shown import shown
from infctl.watch.busiest import Busiest, Busy, By, Sort

if TYPE_CHECKING:
    from rich.console import RenderableType

KEYS_BY: Final[dict[str, By]] = {"t": "tenant", "m": "model", "b": "backend"}
KEYS_SORT: Final[dict[str, Sort]] = {"r": "requests", "k": "tokens", "e": "errors", "f": "refused"}
_HELP: Final = (
    "t m b rows: tenants, models, backends · r k e f order: requests, tokens, errors, refused · q ends"
)
_NAME = 40
_WIDEST = 140
_SORTED: Final[dict[Sort, tuple[str, ...]]] = {
    "requests": ("req/s",),
    "tokens": ("tok/s in", "tok/s out"),
    "errors": ("errors",),
    "refused": ("refused",),
}
"""The columns that are marked as those that the order follows."""


def lines(found: Busiest, width: int, paint: Paint = unpainted) -> list[str]:
    """Without a terminal: all rows."""
    if not found.rows:
        return [_nothing(found)]
    told = plain_table(columns(found, found.rows), width, paint)
    return [*told, "", _span(found)] if not found.down else [*told, "", _nothing(found)]


def screen(name: str, found: Busiest, now: float, width: int, height: int) -> RenderableType:
    """Live: the rows that fit."""
    from rich.console import Group
    from rich.text import Text

    from infctl.cli.live_screen import table

    wide = min(width, _WIDEST)
    left = f"{shown(name, _NAME)} · busiest {found.by}s by {found.sort}"
    right = time.strftime("%H:%M:%S", time.localtime(now))
    title = Text.assemble((left, "bold"), " " * max(2, wide - len(left) - len(right)), right, no_wrap=True)
    parts: list[RenderableType] = [title]
    room = max(1, height - 7)
    rows = found.rows[:room]
    if rows:
        parts.append(table(columns(found, rows), wide))
    rest = len(found.rows) - len(rows)
    said = [f"and {rest} more"] if rest else []
    parts += [Text(""), *(Text(line, style="dim") for line in said)]
    if found.down or not rows:
        parts.append(Text(_nothing(found), style="bold red" if found.down else ""))
    parts.append(Text(_span(found), style="dim", no_wrap=True, overflow="ellipsis"))
    parts.append(Text(_HELP, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def columns(found: Busiest, rows: tuple[Busy, ...]) -> tuple[Column, ...]:
    from infctl.cli.live_screen import count, rate

    def per_s(count: float) -> str:
        return rate(found.per_s(count))

    made = (
        Column(found.by, tuple(shown(one.name, _NAME) for one in rows)),
        Column("req/s", tuple(per_s(one.calls.requests) for one in rows), right=True),
        Column("tok/s in", tuple(per_s(one.calls.tokens_in) for one in rows), right=True, sacrifice=1),
        Column("tok/s out", tuple(per_s(one.calls.tokens_out) for one in rows), right=True),
        Column("errors", tuple(count(one.calls.faults) for one in rows), right=True),
        Column("refused", tuple(count(one.calls.refused) for one in rows), right=True),
        Column("requests", tuple(count(one.total.requests) for one in rows), right=True, sacrifice=2),
        Column(
            "tokens",
            tuple(count(one.total.tokens_in + one.total.tokens_out) for one in rows),
            right=True,
            sacrifice=3,
        ),
    )
    marked = _SORTED[found.sort]
    # Of backends the gateway tells no tokens: engines do, in `infctl status --watch`.
    kept = (one for one in made if found.by != "backend" or not one.title.startswith("tok"))
    return tuple(
        Column(f"{one.title} ↓", one.cells, one.right, one.sacrifice) if one.title in marked else one
        for one in kept
    )


def _nothing(found: Busiest) -> str:
    if found.down:
        return f"the gateway's figures are missing: {shown(found.down, 160)} (infctl status shows what runs)"
    return f"no {found.by} has called since the gateway began"


def _span(found: Busiest) -> str:
    if not found.seconds:
        return "rates need a second look"
    return f"rates, errors and refusals of the last {found.seconds:.0f} s; requests and tokens since it began"
