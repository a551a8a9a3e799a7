"""Planned against actual: what engines reported when they started here. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infctl.cli.figures import as_is, labelled, plain, shortened
from infctl.cli.text import Column, Paint, number, table, unpainted
from infctl.sizing import Measured, MemoryNeed


@dataclass(frozen=True, slots=True)
class Start:
    """One engine's plan and what it measured."""

    service: str
    caches: bool
    """It keeps a KV cache: there is something to compare."""
    planned_tokens: int | None
    planned_blocks: int | None
    measured: Measured | None
    """None: it has not started here with these settings."""

    @property
    def difference(self) -> float | None:
        """Of the tokens, in per cent of what was planned."""
        actual = self.measured.kv_tokens if self.measured is not None else None
        if not self.planned_tokens or actual is None:
            return None
        return 100 * (actual - self.planned_tokens) / self.planned_tokens


def start_of(service: str, need: MemoryNeed | None, measured: Measured | None) -> Start:
    """`need`: as planned; None: the engine was placed by count alone."""
    kv = need.kv if need is not None else None
    tokens = need.kv_tokens.expected if need is not None and kv is not None else None
    caches = kv is not None if need is not None else bool(measured is not None and measured.kv_tokens)
    return Start(service, caches, tokens, kv.num_blocks if kv is not None else None, measured)


def lines(starts: Sequence[Start], width: int, *, utf8: bool = True, paint: Paint = unpainted) -> list[str]:
    """A row an engine; what has not started says so."""
    words = as_is if utf8 else plain
    shown = [start for start in starts if start.caches]
    out: list[str] = []
    if shown:
        columns = (
            Column("engine", tuple(start.service for start in shown)),
            Column("planned tokens", tuple(number(start.planned_tokens) for start in shown), right=True),
            Column("actual", tuple(number(_seen(start, "kv_tokens")) for start in shown), right=True),
            Column("", tuple(_percent(start) for start in shown), right=True),
            Column(
                "planned blocks",
                tuple(number(start.planned_blocks) for start in shown),
                right=True,
                sacrifice=2,
            ),
            Column(
                "actual",
                tuple(number(_seen(start, "num_gpu_blocks")) for start in shown),
                right=True,
                sacrifice=3,
            ),
            Column("starts", tuple(str(_starts(start)) for start in shown), right=True, sacrifice=1),
        )
        out += table(shortened(columns, width, words), width, paint)
    unseen = [start.service for start in shown if start.measured is None]
    if unseen:
        verb = "has" if len(unseen) == 1 else "have"
        text = f"{', '.join(unseen)} {verb} not started here with these settings"
        out += ["", *labelled("actual", words(text), width)]
    elif not shown:
        out += labelled("actual", words("no engine keeps a KV cache: there is nothing to compare"), width)
    return out


def actual_data(starts: Sequence[Start]) -> list[dict[str, Any]]:
    """Keys as in shapes.PLAN, `actual`."""
    return [
        {
            "service": start.service,
            "planned_kv_tokens": start.planned_tokens,
            "planned_num_gpu_blocks": start.planned_blocks,
            "actual_kv_tokens": _seen(start, "kv_tokens"),
            "actual_num_gpu_blocks": _seen(start, "num_gpu_blocks"),
            "difference_percent": None if start.difference is None else round(start.difference, 2),
            "starts": _starts(start),
        }
        for start in starts
    ]


def _seen(start: Start, name: str) -> int | None:
    return None if start.measured is None else getattr(start.measured, name)


def _starts(start: Start) -> int:
    return start.measured.starts if start.measured is not None else 0


def _percent(start: Start) -> str:
    off = start.difference
    if off is None:
        return "-"
    return "exact" if off == 0 else f"{off:+.1f} %"
