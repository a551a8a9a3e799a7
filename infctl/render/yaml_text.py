"""Data -> YAML with comments beside the lines, in the order it is given. Pure, and the same bytes each time.

PyYAML writes no comments, and these files are read by people. What it is given:

    Entry(key, value, why)    one line or a block, with its comment
    Rows                      a list over several lines, each with a comment of its own
    tuple                     a list: on one line, or one item a line where that is too long
    dict                      a mapping on one line: {type: bind, ...}
    str, int, float, bool     a scalar, quoted where YAML would take it for something else
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 112
"""Characters of a line, its comment included. What is one word may be longer."""

_PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./@=-]*(:[A-Za-z0-9_./@-]+)*")
_NUMBERS = re.compile(r"[-+.]?[0-9].*|[-+]?\.(inf|nan)", re.IGNORECASE)
_UNITS = re.compile(r"[0-9]+(s|b|kb|mb|gb)")
"""Begins like a number and is none."""
_WORDS = frozenset(
    {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "-", "--", "---", ".", "..."}
)
_ESCAPED = re.compile("[\x7f-\xa0\xad\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Row:
    words: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """A list of strings, cut into lines."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One of a list that has one item a line."""

    value: Any
    why: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: Any
    """See the module. A list of entries is a block below the key; any other list has one item a line."""
    why: str = ""
    heading: str = ""
    """A comment above, after an empty line."""
    anchor: str = ""
    """Of a block: what `Merged` repeats elsewhere."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The key `<<`: all of another block, of which this one may say something else."""

    anchor: str


def dump(entries: Iterable[Entry], comment: Sequence[str] = ()) -> str:
    lines = [f"# {_one_line(line)}".rstrip() for line in comment]
    lines += _block(entries, "")
    return "\n".join(lines) + "\n"


def scalar(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    odd = _NUMBERS.fullmatch(value) and not _UNITS.fullmatch(value)
    if _PLAIN.fullmatch(value) and not odd and value.lower() not in _WORDS:
        return value
    return _ESCAPED.sub(lambda one: f"\\u{ord(one[0]):04x}", json.dumps(value, ensure_ascii=False))


def _block(entries: Iterable[Entry], indent: str) -> Iterator[str]:
    for entry in entries:
        if entry.heading:
            yield ""
            yield from _above(entry.heading, indent)
        yield from _entry(entry, indent)


def _entry(entry: Entry, indent: str) -> Iterator[str]:
    head = f"{indent}{scalar(entry.key)}:" + (f" &{entry.anchor}" if entry.anchor else "")
    value = entry.value
    if isinstance(value, Merged):
        yield f"{indent}<<: *{value.anchor}"
    elif isinstance(value, Rows):
        yield from _said(f"{head} [", entry.why, indent)
        for number, row in enumerate(value.rows):
            last = number == len(value.rows) - 1
            words = ", ".join(map(scalar, row.words)) + ("" if last else ",")
            yield from _said(f"{indent}    {words}", row.why, f"{indent}    ")
        yield f"{indent}  ]"
    elif isinstance(value, list) and value and isinstance(value[0], Entry):
        yield from _said(head, entry.why, indent)
        yield from _block(value, f"{indent}  ")
    elif isinstance(value, list):
        yield from _said(head, entry.why, indent)
        for item in value:
            what, why = (item.value, item.why) if isinstance(item, Item) else (item, "")
            yield from _said(f"{indent}  - {_flow(what)}", why, f"{indent}  ")
    else:
        line = f"{head} {_flow(value)}"
        if isinstance(value, tuple) and len(line) > WIDTH:
            yield from _entry(Entry(entry.key, list(value), entry.why), indent)
        else:
            yield from _said(line, entry.why, indent)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)


def _said(line: str, why: str, indent: str) -> Iterator[str]:
    """The line with its comment, which goes above where both are too long together."""
    if not why:
        yield line
    elif len(line) + len(why) + 3 <= WIDTH:
        yield f"{line} # {_one_line(why)}"
    else:
        yield from _above(why, indent)
        yield line


def _above(text: str, indent: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"{indent}# {_one_line(line)}"


def _one_line(text: str) -> str:
    """A comment ends where the line does, whatever is in it."""
    return "".join(one if one.isprintable() else " " for one in text)
