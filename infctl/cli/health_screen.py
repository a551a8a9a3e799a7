"""What `infctl health --deep` found, a line a look: where, what; of what is not well why, what next. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from infctl.cli.doctor_screen import SYMBOLS
from infctl.cli.text import Paint, unpainted
from infctl.health.found import Found

_MARK = 6
_WHERE_MAX = 34
"""Columns of `where`; what is longer stands on a line of its own."""
_LEAST = 24


def lines(found: Sequence[Found], width: int, *, utf8: bool = True, paint: Paint = unpainted) -> list[str]:
    checks = max(len("check"), *(len(one.check) for one in found))
    wheres = [len(one.where) for one in found if len(one.where) <= _WHERE_MAX]
    room = max([len("where"), *wheres])
    start = _MARK + 2 + checks + 2 + room + 2
    head = f"{'':<{_MARK}}  {'check':<{checks}}  {'where':<{room}}  what"
    out = [paint(head, "dim")]
    last = ""
    for one in found:
        symbol, plain, word, style = SYMBOLS[one.verdict]
        mark = f"{symbol if utf8 else plain} {word:<{_MARK - 2}}"
        named = "" if one.check == last else one.check
        last = one.check
        lead = f"{paint(mark, style)}  {named:<{checks}}  "
        what = one.what if one.verdict != "skipped" else f"{one.what}: {one.why}"
        told = _wrapped(what, width - start)
        if len(one.where) <= room:
            out.append(f"{lead}{one.where:<{room}}  {told[0]}".rstrip())
            told = told[1:]
        else:
            out.append(f"{lead}{one.where}")
        out += [" " * start + line for line in told]
        if one.why and one.verdict not in ("ok", "skipped"):
            out += _part("why ", one.why, start, width, paint, "")
        if one.fix and one.verdict != "ok":
            out += _part("next", one.fix, start, width, paint, "hint")
    return out


def _part(label: str, text: str, start: int, width: int, paint: Paint, style: str) -> list[str]:
    first, *rest = _wrapped(text, width - start - 5)
    painted = [paint(line, style) if style else line for line in (first, *rest)]
    return [
        f"{' ' * start}{paint(label, 'dim')} {painted[0]}",
        *(" " * (start + 5) + line for line in painted[1:]),
    ]


def _wrapped(text: str, room: int) -> list[str]:
    # A path or a command that is cut in two can no longer be copied.
    return textwrap.wrap(text, max(room, _LEAST), break_long_words=False, break_on_hyphens=False) or [""]
