"""pydantic's findings -> our words: what is wrong and what would be right. None of its words gets through."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import PlainSerializer

from infctl.profile.schema.base import Says, Section
from infctl.profile.schema.walk import ROOT, Spot, at, known_paths
from infctl.profile.values import shown

_REQUIRED = {
    "name": "name: my-platform",
    "models": "models: {chat: {source: Qwen/Qwen2.5-7B-Instruct, task: chat}}",
    "source": "source: Qwen/Qwen2.5-7B-Instruct",
    "task": "task: chat",
}

_GONE = {
    "gateway/keys/file": "keys made while it runs (infctl keys create) are in gateway/store; leave it out",
}
"""Keys that were once there -> what is there instead."""


def words(error: Any, path: Sequence[object], *, key: bool = False) -> tuple[str, str]:
    """(message, hint) for one entry of `errors()`. `path`: as the schema counts; `key`: the key is wrong."""
    kind = error["type"]
    if kind == "infctl":
        return error["ctx"]["message"], error["ctx"]["hint"]
    spot = _key_of(at(path[:-1])) if key else at(path)
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        field = str(path[-1])
        return f'"{field}" is missing', _REQUIRED.get(field, f"{field}: ...")
    say = _SAYINGS.get(kind)
    if say is None:
        return f"{shown(error.get('input'))} cannot stand here", _example(spot)
    return say(error, spot)


def _key_of(spot: Spot | None) -> Spot | None:
    return spot.key() if spot else None


def nearest(word: str, known: Sequence[str]) -> str | None:
    found = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return found[0] if found else None


def _unknown(path: Sequence[object]) -> tuple[str, str]:
    key = str(path[-1])
    parent = at(path[:-1])
    known = list(parent.section.model_fields) if parent and parent.section else []
    message = f"unknown key {shown(key)}"
    if gone := _GONE.get("/".join(map(str, path))):
        return message, gone
    if near := nearest(key, known):
        return message, f'did you mean "{near}"?'
    homes = [
        "/".join(p[:-1]).replace("*", "<name>") or "the top level" for p in known_paths() if p[-1] == key
    ]
    if homes:
        return message, f'"{key}" belongs to {" or ".join(homes[:3])}'
    return message, "known here: " + ", ".join(known)


def _example(spot: Spot | None) -> str:
    if spot is None:
        return ""
    for mark in spot.marks:
        if isinstance(mark, Says):
            return f"for example {mark.example}"
    if spot.section:
        return "a mapping with the keys " + ", ".join(list(spot.section.model_fields)[:8])
    return ""


def _choice(error: Any, spot: Spot | None) -> tuple[str, str]:
    choices = [str(c) for c in spot.choices] if spot and spot.choices else []
    value = error["input"]
    near = nearest(value, choices) if isinstance(value, str) else None
    one_of = "one of: " + ", ".join(choices)
    if len(choices) == 1:
        return f"{shown(value)} is not {choices[0]}", f"write {choices[0]}"
    return f"{shown(value)} is none of the choices", (f'did you mean "{near}"? ' if near else "") + one_of


def _pattern(error: Any, spot: Spot | None) -> tuple[str, str]:
    says = next((m for m in spot.marks if isinstance(m, Says)), None) if spot else None
    if says is None:
        return f"{shown(error['input'])} has characters that cannot stand here", ""
    return f"{shown(error['input'])} is not {says.what}", f"for example {says.example}"


def _long(error: Any, _: Spot | None) -> tuple[str, str]:
    return f"{len(error['input']):,} characters are too many", f"at most {error['ctx']['max_length']:,}"


def _text(error: Any, spot: Spot | None) -> tuple[str, str]:
    value = error["input"]
    if isinstance(value, dict | list | tuple):
        return f"{shown(value)} stands where a text belongs", _example(spot)
    return f"{shown(value)} is not a text", f'put it in quotes: "{shown(value)}"'


def _whole(error: Any, _: Spot | None) -> tuple[str, str]:
    return f"{_quiet(error['input'])} is not a whole number", "a number without quotes or a fraction: 2"


def _number(error: Any, _: Spot | None) -> tuple[str, str]:
    return f"{_quiet(error['input'])} is not a number", "a number without quotes: 1.5"


def _flag(error: Any, _: Spot | None) -> tuple[str, str]:
    return f"{_quiet(error['input'])} is neither true nor false", "true or false, without quotes"


def _mapping(error: Any, spot: Spot | None) -> tuple[str, str]:
    return f"{_quiet(error['input'])} stands where a mapping belongs", _example(
        spot
    ) or "key: value, a line each"


def _list(error: Any, _: Spot | None) -> tuple[str, str]:
    return (
        f"{_quiet(error['input'])} stands where a list belongs",
        "[a, b], or a line each that begins with -",
    )


def _short(error: Any, _: Spot | None) -> tuple[str, str]:
    return "nothing is named here", f"at least {error['ctx']['min_length']}"


def _bound(word: str, limit: str, of: str) -> Callable[[Any, Spot | None], tuple[str, str]]:
    def say(error: Any, spot: Spot | None) -> tuple[str, str]:
        value, edge = error["input"], error["ctx"][limit]
        for mark in spot.marks if spot else ():
            if isinstance(mark, PlainSerializer):  # the human form: "at most 1d", not "at most 86400.0"
                edge = mark.func(edge)  # type: ignore[call-arg]
                if not isinstance(value, str):
                    value = f"{value:g}" if "%" in edge else mark.func(value)  # type: ignore[call-arg]
        return f"{value} is too {word}", f"{of} {edge:g}" if isinstance(edge, float) else f"{of} {edge}"

    return say


def _quiet(value: object) -> str:
    """A value of the wrong kind. A long text is not repeated: it may be a key in the wrong place."""
    return "a text" if isinstance(value, str) and len(value) > 20 else shown(value)


_SAYINGS: dict[str, Callable[[Any, Spot | None], tuple[str, str]]] = {
    "literal_error": _choice,
    "string_pattern_mismatch": _pattern,
    "string_type": _text,
    "string_too_short": _pattern,
    "string_too_long": _long,
    "string_unicode": _pattern,
    "int_type": _whole,
    "int_from_float": _whole,
    "int_parsing": _whole,
    "int_parsing_size": _whole,
    "float_type": _number,
    "float_parsing": _number,
    "finite_number": _number,
    "bool_type": _flag,
    "bool_parsing": _flag,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "dict_type": _mapping,
    "tuple_type": _list,
    "list_type": _list,
    "too_short": _short,
    "greater_than": _bound("small", "gt", "more than"),
    "greater_than_equal": _bound("small", "ge", "at least"),
    "less_than": _bound("large", "lt", "less than"),
    "less_than_equal": _bound("large", "le", "at most"),
}

__all__ = ["ROOT", "Section", "nearest", "words"]
