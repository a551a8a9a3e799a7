"""Finding one's way in the schema by path: which keys are known where, and what a value is."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from infctl.profile.schema.base import SecretRef, Section
from infctl.profile.schema.models import GpuDevice, Gpus
from infctl.profile.schema.platform import Profile


@dataclass(frozen=True, slots=True)
class Spot:
    """What the schema says about one place: the type, and the marks (`Says`, bounds) that hang on it."""

    kind: Any
    marks: tuple[Any, ...] = ()

    @property
    def section(self) -> type[Section] | None:
        return self.kind if isinstance(self.kind, type) and issubclass(self.kind, Section) else None

    @property
    def secret(self) -> bool:
        return self.kind is SecretRef

    @property
    def choices(self) -> tuple[Any, ...]:
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    def child(self, key: object) -> Spot | None:
        """The place one step further; None where the schema knows none."""
        if section := self.section:
            if section is Gpus and str(key).isdigit():  # written as a list, kept as {kind, devices}
                return Spot(GpuDevice)
            field = section.model_fields.get(str(key))
            return None if field is None else _spot(field.annotation, tuple(field.metadata))
        arguments = get_args(self.kind)
        if get_origin(self.kind) is dict:
            return _spot(arguments[1], ())
        if get_origin(self.kind) is tuple:
            return _spot(arguments[0], ())
        return None

    def key(self) -> Spot | None:
        """What a mapping's keys may be."""
        return _spot(get_args(self.kind)[0], ()) if get_origin(self.kind) is dict else None


ROOT = Spot(Profile)


def at(path: Sequence[object]) -> Spot | None:
    """The place a path leads to, or None."""
    spot: Spot | None = ROOT
    for key in path:
        if spot is None:
            return None
        spot = spot.child(key)
    return spot


@functools.cache
def known_paths() -> tuple[tuple[str, ...], ...]:
    """Every field, with `*` for a name a person chooses: ("models", "*", "replicas")."""
    return tuple(_paths(ROOT, ()))


def _paths(spot: Spot, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if section := spot.section:
        for name in section.model_fields:
            yield (*above, name)
            child = spot.child(name)
            if child is not None:
                yield from _paths(child, (*above, name))
    elif get_origin(spot.kind) in {dict, tuple} and (item := spot.child("*")) is not None and item.section:
        yield from _paths(item, (*above, "*"))


def _spot(annotation: Any, marks: tuple[Any, ...]) -> Spot:
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *further = get_args(annotation)
            marks = (*marks, *further)
        elif get_origin(annotation) in {Union, types.UnionType}:
            annotation = next(a for a in get_args(annotation) if a is not type(None))
        else:
            return Spot(annotation, marks)
