"""Text that somebody else wrote, on a terminal: labels of metrics, names of tenants, answers of models.

An escape sequence in it would be carried out by the terminal, a line break would end a table's row.
"""

from __future__ import annotations

import unicodedata

ROOM = 200
"""Characters, where nothing else is said."""
_MARKS_MAX = 4
"""Marks on one letter; more climb over the lines above."""


def shown(text: str, room: int = ROOM) -> str:
    r"""In one line, what cannot be printed as `\x1b` or `\n`, and cut with an ellipsis to `room` letters."""
    out: list[str] = []
    used = marks = 0
    for letter in text:
        mark = unicodedata.combining(letter) != 0
        marks = marks + 1 if mark else 0
        if marks > _MARKS_MAX:
            continue
        part = letter if letter.isprintable() else _escaped(letter)
        if used + len(part) > room:
            # What is there already is as long as it may be: its last letters give way to the ellipsis.
            kept = "".join(out)[: max(room - 1, 0)]
            return f"{kept}…" if room > 0 else ""
        out.append(part)
        used += len(part)
    return "".join(out)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
