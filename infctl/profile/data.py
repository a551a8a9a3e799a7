"""A tree with its variables filled in: plain data for the schema, and the places to blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infctl.errors import Location, Problem
from infctl.profile.interpolation import expand, names
from infctl.profile.schema.walk import Spot, at
from infctl.profile.tree import Mapping as Tree
from infctl.profile.tree import Node, Scalar, resolve
from infctl.profile.tree import Sequence as Items
from infctl.profile.values import Misfit

_STAND_INS: dict[str, Any] = {"name": "unnamed", "source": "unnamed/unnamed", "task": "chat"}
"""For what must be there, so that the rest of a profile can still be looked at."""

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Place:
    path: tuple[str, ...]
    """As written."""
    schema: tuple[object, ...]
    """As the schema counts: a bare `source: org/name` is source/hub there."""
    is_key: bool
    """The key itself is wrong."""


@dataclass(slots=True)
class Data:
    """Changed only while one profile is loaded: wrong values are taken out of `value`."""

    value: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Location] = field(default_factory=dict)
    keys: dict[str, Location] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """What variables gave, where it looks like a number and a text may be wanted."""
    dropped: set[str] = field(default_factory=set)
    """Paths whose variables could not be filled in: already complained about."""
    variables: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Each variable a value names -> (the value's path, what stands in for the variable)."""
    problems: list[Problem] = field(default_factory=list)

    def where(self, path: str) -> Location | None:
        while path:
            if path in self.places:
                return self.places[path]
            path = path.rpartition("/")[0]
        return self.places.get("")

    def location(self, place: Place, kind: str) -> Location | None:
        """Of an error: the value; the key, if that is unknown; for a missing one, what lacks it."""
        path = "/".join(place.path)
        if kind == "missing":
            parent = "/".join(place.path[:-1])
            return self.keys.get(parent) or self.where(parent)
        if kind == "extra_forbidden" or place.is_key:
            return self.keys.get(path) or self.where(path)
        return self.where(path)

    def place(self, loc: Sequence[int | str]) -> Place:
        """Pydantic's path -> the written one. Steps that only the schema knows are left out."""
        path: list[str] = []
        node: Any = self.value
        is_key = loc[-1:] == ("[key]",)
        steps = tuple(loc[:-1] if is_key else loc)
        for number, step in enumerate(steps):
            if isinstance(node, dict):
                if step in node:
                    node = node[step]
                elif number + 1 < len(steps):
                    continue
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                node = node[step]
            else:
                continue
            path.append(str(step))
        return Place(tuple(path), steps, is_key)

    def as_text(self, path: tuple[str, ...]) -> bool:
        """A variable's value looked like a number where the schema wants a text: give it the text."""
        text = self.texts.pop("/".join(path), None)
        if text is None:
            return False
        self._parent(path)[_index(self._parent(path), path[-1])] = text
        return True

    def set_aside(self, path: tuple[str, ...]) -> bool:
        """Take a wrong value out. False: without it nothing is left to look at."""
        if not path or path == ("models",):
            return False
        try:
            parent = self._parent(path)
        except (LookupError, TypeError, ValueError):  # what holds it was taken out before
            return bool(self.value.get("models", True))
        key = path[-1]
        if isinstance(parent, list):
            # A list with a hole would move the later entries' paths: the whole list goes.
            return self.set_aside(path[:-1])
        required = key in _STAND_INS and (len(path) == 1 or (len(path) == 3 and path[0] == "models"))
        if required:
            parent[key] = _STAND_INS[key]
        elif isinstance(parent, dict):
            parent.pop(key, None)
        return bool(self.value.get("models", True))

    def _parent(self, path: tuple[str, ...]) -> Any:
        node: Any = self.value
        for key in path[:-1]:
            node = node[_index(node, key)]
        return node


def fill_in(tree: Tree, env: Mapping[str, str], env_file: str) -> Data:
    """Nulls taken out, variables filled in (secrets keep theirs: a reference is their value)."""
    data = Data()
    data.value = _Filler(data, env, env_file).add(tree, ())
    return data


@dataclass(frozen=True, slots=True)
class _Filler:
    data: Data
    env: Mapping[str, str]
    env_file: str

    def add(self, node: Node, path: tuple[str, ...]) -> Any:
        self.data.places["/".join(path)] = node.where
        if isinstance(node, Tree):
            return self._mapping(node, path)
        if isinstance(node, Items):
            return self._items(node, path)
        return self._scalar(node, path)

    def _mapping(self, node: Tree, path: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, entry in node.entries.items():
            below = (*path, key)
            self.data.keys["/".join(below)] = entry.key_where
            value = self.add(entry.node, below)
            if value is not _ABSENT:
                found[key] = value
        return found

    def _items(self, node: Items, path: tuple[str, ...]) -> list[Any]:
        found: list[Any] = []
        for index, item in enumerate(node.items):
            below = (*path, str(index))
            value = self.add(item, below)
            name = "/".join(below)
            if value is not _ABSENT:
                found.append(value)
            elif name not in self.data.dropped:
                self.data.problems.append(Problem("an entry without a value", name, item.where, "remove it"))
        return found

    def _scalar(self, node: Scalar, path: tuple[str, ...]) -> Any:
        name = "/".join(path)
        text, resolves = node.text, node.plain
        if "$" in text and not _is_secret(path):
            for variable, default in names(text):
                self.data.variables.setdefault(variable, (name, default))
            try:
                expanded = expand(text, self.env, self.env_file)
            except Misfit as error:
                self.data.problems.append(Problem(error.message, name, node.where, error.hint))
                if at(path) is None:  # an unknown key as well: it stays to be found
                    return node.text
                self.data.dropped.add(name)
                return _ABSENT
            text, resolves = expanded.text, node.plain or expanded.whole
            if resolves:
                self.data.texts[name] = text
        value = resolve(text) if resolves else text
        if value is None:
            self.data.places.pop(name)
            return _ABSENT
        return value


def _is_secret(path: tuple[str, ...]) -> bool:
    spot: Spot | None = at(path)
    if spot is None:
        return False
    item = spot.child("0")
    return spot.secret or (item is not None and item.secret and spot.section is None)


def _index(node: Any, key: str) -> Any:
    return int(key) if isinstance(node, list) else key
