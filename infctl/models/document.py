"""The text of a config.json -> plain data, and the place of every value in it.

The text is read by `json`, which is fast and knows no lines. Only when somebody asks for a place, because
something is wrong there, is the text walked once more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from infctl.errors import Location, PlanError, Problem, Where

BYTES_MAX = 4 * 2**20
"""Of UTF-8. The longest configs seen list every tensor that is not quantised: about 300 KiB."""
DEPTH_MAX = 32
"""Mappings and lists inside each other; configs are five deep."""
PROBLEMS_MAX = 20
"""Told at once."""

PLACES_MAX = 100_000
"""Values whose places are looked up: half a second. What comes after them has the place of what holds it."""

_BLANK = re.compile(r"[ \t\n\r]*")
_ATOM = re.compile(r"[^\s,\]}]+")


class _Refused(ValueError):  # noqa: N818 - raised and caught in this file only
    pass


def read_config(text: str, file: str) -> tuple[dict[str, Any], Where]:
    """The tree, and a function from a path (`text_config/hidden_size`) to its place in `file`.

    A path that is not there has the place of what should hold it. `Infinity` and `NaN` pass, as Python writes
    them and hub configs hold them: a key we read refuses them. Raises PlanError with the place of what is not
    JSON, written twice, nested too deep or too long.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > BYTES_MAX:
        raise _error(
            file,
            Problem(
                f"{size:,} bytes long; a model config has at most {BYTES_MAX:,}",
                where=Location(file, 1, 1),
                hint="is this the config.json, or the weights?",
            ),
        )
    if (deep := _too_deep(text)) is not None:
        raise _error(
            file,
            Problem(f"nested more than {DEPTH_MAX} deep", where=_location(text, deep, file)),
        )
    try:
        tree = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise _error(file, _syntax(error, text, file)) from None
    except _Refused:
        raise PlanError(f"{file} is not a model config", problems=_twice(text, file)) from None
    except ValueError:  # an integer of more digits than Python reads
        raise _error(
            file, Problem("holds a number of thousands of digits", where=Location(file, 1, 1))
        ) from None
    if not isinstance(tree, dict):
        raise _error(
            file,
            Problem(
                f"a model config is a mapping, this is {_called(tree)}",
                where=_location(text, _skip(text, 0), file),
                hint='it begins with { and names "architectures"',
            ),
        )
    return tree, _places(text, file)


def _places(text: str, file: str) -> Where:
    @cache
    def table() -> dict[str, int]:
        found: dict[str, int] = {}
        for path, _key, value in islice(_walk(text), PLACES_MAX):
            found.setdefault(path, value)
        return found

    def where(path: str) -> Location | None:
        while path and path not in table():
            path = path.rpartition("/")[0]
        return _location(text, table()[path], file)

    return where


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise _Refused
    return tree


def _twice(text: str, file: str) -> list[Problem]:
    """The keys that are written twice."""
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for path, key, _value in islice(_walk(text), PLACES_MAX):
        if path in first:
            line = text.count("\n", 0, first[path]) + 1
            problems.append(
                Problem(
                    f"is written twice, first in line {line}",
                    path,
                    _location(text, key, file),
                    "keep one of them",
                )
            )
        first.setdefault(path, key)
    return problems[:PROBLEMS_MAX] or [Problem("a key is written twice", where=Location(file, 1, 1))]


def _walk(text: str) -> Iterator[tuple[str, int, int]]:
    """Path, offset of the key (in a list: of the value), offset of the value. Text `json` has read."""
    path: list[str | int] = []
    at = _skip(text, 0)
    key_at = at
    while True:
        yield "/".join(map(str, path)), key_at, at
        opened = text[at]
        at = _skip(text, at + 1) if opened in "{[" else _skip(text, _end(text, at))
        if opened == "{" and text[at] != "}":
            key_at = at
            at = _after_key(text, at, path)
            continue
        if opened == "[" and text[at] != "]":
            path.append(0)
            key_at = at
            continue
        if opened in "{[":
            at = _skip(text, at + 1)
        while path and text[at] in "}]":
            path.pop()
            at = _skip(text, at + 1)
        if not path:
            return
        at = _skip(text, at + 1)  # the comma
        key_at = at
        last = path.pop()
        if isinstance(last, int):
            path.append(last + 1)
        else:
            at = _after_key(text, at, path)


def _after_key(text: str, at: int, path: list[str | int]) -> int:
    """From the opening quote of a key to its value."""
    key, at = scanstring(text, at + 1, True)
    path.append(key)
    return _skip(text, _skip(text, at) + 1)


def _end(text: str, at: int) -> int:
    if text[at] == '"':
        return int(scanstring(text, at + 1, True)[1])
    found = _ATOM.match(text, at)
    return found.end() if found else at + 1


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


_MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def _too_deep(text: str) -> int | None:
    """The offset of the bracket that is one too many; counted before anything recurses."""
    if text.count("{") + text.count("[") <= DEPTH_MAX:
        return None
    depth, quoted = 0, False
    for found in _MARKS.finditer(text):
        mark = found[0]
        if mark == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif mark in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                return found.start()
        elif mark in "]}":
            depth -= 1
    return None


def _syntax(error: json.JSONDecodeError, text: str, file: str) -> Problem:
    if not text.strip():
        return Problem("the file is empty", where=Location(file, 1, 1), hint="fetch the config.json again")
    at = min(error.pos, len(text))
    if text.startswith("version https://git-lfs"):
        hint = "this is a pointer of git-lfs: run git lfs pull"
    elif text.lstrip().startswith("<"):
        hint = "this is a web page, not the file: use the hub's raw link"
    else:
        hint = "look at the commas, quotes and brackets just before"
    return Problem(f"not JSON: {error.msg}", where=_location(text, at, file), hint=hint)


def _location(text: str, offset: int, file: str) -> Location:
    before = text[:offset]
    return Location(file, before.count("\n") + 1, offset - before.rfind("\n"))


def _error(file: str, problem: Problem) -> PlanError:
    return PlanError(f"{file} is not a model config", problems=[problem])


def _called(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    return "a text" if isinstance(value, str) else "a single value"
