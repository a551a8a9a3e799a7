"""Words for figures, and a table that fits the window. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_GAP = "  "


Paint = Callable[[str, str], str]
"""(text, style) -> the text coloured; the text alone says everything."""


def unpainted(text: str, _style: str) -> str:
    return text


def duration(seconds: float) -> str:
    """0.3 s, 41 s, 1 min 34 s, 2 h 5 min, 6 d 4 h."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for big, small, big_word, small_word in (
        (60, 1, "min", "s"),
        (3600, 60, "h", "min"),
        (86_400, 3600, "d", "h"),
    ):
        if whole < big * 60 or big == 86_400:
            rest = whole % big // small
            return f"{whole // big} {big_word}" + (f" {rest} {small_word}" if rest else "")
    raise AssertionError("unreachable")


def size(count: int | None) -> str:
    """Bytes as MiB or GiB; `-` for unknown."""
    if count is None:
        return "-"
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"


def number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    cells: tuple[str, ...]
    right: bool = False
    sacrifice: int = 0
    """In a narrow window the column with the highest figure goes first; 0 stays."""
    style: Callable[[str], str] | None = None
    """Cell -> style name of `console.styled`."""

    @property
    def width(self) -> int:
        return max(len(self.title), *(len(cell) for cell in self.cells), 0)

    def line(self, cell: str) -> str:
        return cell.rjust(self.width) if self.right else cell.ljust(self.width)


def fitted(columns: Sequence[Column], width: int) -> tuple[Column, ...]:
    """The columns that fit `width`; those that stay, stay in order."""
    kept = list(columns)
    while sum(c.width for c in kept) + len(_GAP) * (len(kept) - 1) > width:
        least = max(kept, key=lambda column: column.sacrifice)
        if least.sacrifice == 0:
            break
        kept.remove(least)
    return tuple(kept)


def table(columns: Sequence[Column], width: int, paint: Paint = unpainted) -> list[str]:
    """Lines, header first."""
    kept = fitted(columns, width)
    lines = [paint(_GAP.join(c.line(c.title) for c in kept).rstrip(), "dim")]
    for row in range(len(kept[0].cells)):
        parts = []
        for column in kept:
            cell = column.cells[row]
            padded = column.line(cell)
            style = column.style(cell) if column.style else ""
            parts.append(padded.replace(cell, paint(cell, style), 1) if style and cell else padded)
        lines.append(_GAP.join(parts).rstrip())
    return lines
