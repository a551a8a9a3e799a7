"""Bytes, tokens and their doubt in words. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace

from infctl.cli.text import Column, fitted
from infctl.figure import GIB, Figure

NAME_LEAST = 8

_ORIGINS = {
    "computed": "computed",
    "measured": "measured here",
    "fitted": "fitted",
    "assumed": "assumed",
}


def gib(count: int) -> str:
    """Bytes as GiB with one place, without the unit; what is there at all is not called 0.0."""
    return "<0.1" if 0 < count < 0.05 * GIB else f"{count / GIB:.1f}"


def gib_band(figure: Figure) -> str:
    """`4.3 ± 0.2`, `3.9 -0.2 +1.0`; no band where it would be less than what is shown."""
    down = round((figure.expected - figure.low) / GIB, 1)
    up = round((figure.high - figure.expected) / GIB, 1)
    if not down and not up:
        return gib(figure.expected)
    return (
        f"{gib(figure.expected)} ± {up:.1f}"
        if down == up
        else f"{gib(figure.expected)} -{down:.1f} +{up:.1f}"
    )


def doubt(figure: Figure) -> str:
    """`± 5 %`, `-8 +3 %`; empty: none worth a word."""
    if figure.expected <= 0:
        return ""
    down = round(100 * (figure.expected - figure.low) / figure.expected)
    up = round(100 * (figure.high - figure.expected) / figure.expected)
    if not down and not up:
        return ""
    return f"± {up} %" if down == up else f"-{down} +{up} %"


def source(figure: Figure) -> str:
    """`measured here`; `fitted, ± 5 %`."""
    band = doubt(figure)
    return _ORIGINS[figure.origin] + (f", {band}" if band else "")


def labelled(label: str, text: str, width: int, *, indent: int = 9) -> list[str]:
    """`note     a sentence that goes on` with its further lines under the sentence's beginning."""
    out: list[str] = []
    for number, line in enumerate(text.splitlines() or [""]):
        lead = label.ljust(indent) if number == 0 else " " * indent
        out += textwrap.wrap(
            line,
            max(width, indent + 20),
            initial_indent=lead,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [lead.rstrip()]
    return out


_PLAIN = str.maketrans({"↻": "*", "·": "-", "±": "+/-", "…": "~", "→": "->"})


def plain(text: str) -> str:
    """For a terminal that is not UTF-8: ASCII; letters it has no word for become `?`."""
    return text.translate(_PLAIN).encode("ascii", "replace").decode("ascii")


def as_is(text: str) -> str:
    return text


def shortened(columns: Sequence[Column], width: int, words: Callable[[str], str]) -> tuple[Column, ...]:
    """Columns in `words`; those that `table` keeps fit `width`, if need be with the longest names cut.

    Names are what stands to the left and is never sacrificed.
    """
    put = [replace(one, title=words(one.title), cells=tuple(map(words, one.cells))) for one in columns]
    kept = fitted(put, width)
    over = sum(column.width for column in kept) + 2 * (len(kept) - 1) - width
    if over <= 0:
        return tuple(put)
    longest = max((c for c in put if not c.right and not c.sacrifice), key=lambda column: column.width)
    room = max(longest.width - over, NAME_LEAST)
    cut = tuple(cell if len(cell) <= room else cell[: room - 1] + words("…") for cell in longest.cells)
    return tuple(replace(one, cells=cut) if one is longest else one for one in put)
