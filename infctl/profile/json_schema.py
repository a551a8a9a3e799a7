"""The schema for editors: JSON Schema, draft 2020-12, as a person writes a profile.

What loading accepts beyond pydantic's own schema is added here: `${VAR}` wherever a value may stand, the
short forms (`source: org/name`, `gpu: auto`), models as a list, `null` to take a key away. Field descriptions
are the strings under the fields, read from the source files: gathering them while the classes are made would
cost every start the time that only `infctl schema` needs.
"""

from __future__ import annotations

import ast
import functools
import inspect
from typing import Any

from pydantic import PlainSerializer

from infctl.profile.schema import GpuDevice, Gpus, Placement, Profile, Source
from infctl.profile.schema.base import Section
from infctl.profile.schema.walk import ROOT, Spot

_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}
_NULL = {"type": "null"}
_ABOUT = ("description", "default", "examples")
_SHORT: dict[type[Section], list[dict[str, Any]]] = {
    Source: [{"type": "string", "examples": ["Qwen/Qwen2.5-7B-Instruct"]}],
    Placement: [{"const": "auto"}, {"type": "integer", "minimum": 0, "maximum": 63}],
}
"""Sections that may be one word instead."""


def schema() -> dict[str, Any]:
    """A new dict each time; the caller may change it."""
    made = Profile.model_json_schema()
    definitions: dict[str, Any] = made.pop("$defs")
    definitions["Profile"] = made
    for section in _sections():
        body = definitions[section.__name__]
        if "properties" in body:
            definitions[section.__name__] = _section(body, section)
    profile = definitions.pop("Profile")
    _models(profile["properties"]["models"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "infctl profile",
        **profile,
        "$defs": dict(sorted(definitions.items())),
    }


def _section(body: dict[str, Any], section: type[Section]) -> dict[str, Any]:
    body.pop("title", None)
    if section.__doc__ and section.__doc__ != Section.__doc__:
        body["description"] = inspect.cleandoc(section.__doc__)
    words = descriptions(section)
    for name, field in body["properties"].items():
        about = {key: field[key] for key in _ABOUT if key in field}
        if name in words:
            about["description"] = words[name]
        if "default" in about and (about["default"] is None or about["default"] == []):
            del about["default"]
        elif "default" in about:
            about["default"] = _default(section, name)
        body["properties"][name] = {**about, **_open(field)}
    if section in _SHORT:
        return {"anyOf": [body, *_SHORT[section]]}
    return body


def _default(section: type[Section], name: str) -> Any:
    """As a person writes it: 2s, not 2.0."""
    value = section.model_fields[name].default
    spot = Spot(section).child(name)
    for mark in spot.marks if spot else ():
        if isinstance(mark, PlainSerializer):
            return mark.func(value)  # type: ignore[call-arg]
    return list(value) if isinstance(value, tuple) else value


def _open(field: dict[str, Any]) -> dict[str, Any]:
    """The field, or a variable in its place, or null to take it away; the same for what it holds."""
    bare = {key: value for key, value in field.items() if key not in {*_ABOUT, "title"}}
    variants = bare["anyOf"] if set(bare) == {"anyOf"} else [bare]
    return {"anyOf": [*(_inner(variant) for variant in variants if variant != _NULL), _VARIABLE, _NULL]}


def _inner(variant: dict[str, Any]) -> dict[str, Any]:
    if "items" in variant:
        return {**variant, "items": {"anyOf": [variant["items"], _VARIABLE]}}
    if "patternProperties" in variant:
        inner = {key: _open(value) for key, value in variant["patternProperties"].items()}
        return {**variant, "patternProperties": inner, "additionalProperties": False}
    return variant


def _models(field: dict[str, Any]) -> None:
    """By name, or a list with names: an overlay may write either."""
    item = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    field["anyOf"].append({"type": "array", "items": item, "minItems": 1})


@functools.cache
def descriptions(section: type[Section]) -> dict[str, str]:
    """Field -> the string under it; fields without one are left out."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(section) or section))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == section.__name__:
            return {
                before.target.id: inspect.cleandoc(after.value.value)
                for before, after in zip(node.body, node.body[1:], strict=False)
                if isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            }
    return {}


def _sections() -> set[type[Section]]:
    """Every section the profile reaches."""
    found: set[type[Section]] = {GpuDevice, Gpus}

    def visit(spot: Spot) -> None:
        section = spot.section
        if section and section not in found:
            found.add(section)
            for name in section.model_fields:
                if (child := spot.child(name)) is not None:
                    visit(child)
        elif not section and (item := spot.child("*")) is not None:
            visit(item)

    visit(ROOT)
    return found
