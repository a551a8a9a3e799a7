"""YAML text -> nodes that know their line and column. Safe, bounded, and strict where YAML is careless.

Built from the parser's events rather than by its composer: the depth is checked before anything recurses, and
an alias is counted at its expanded size, so neither `[[[[...` nor a "billion laughs" file costs more than its
bytes. Plain scalars follow YAML 1.2 (`on` and `no` are words, not booleans), as editors read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from infctl.errors import Location, Problem
from infctl.profile.values import shown

DEPTH_MAX = 24
KEY_MAX = 256
"""Characters."""
NODES_MAX = 20_000
"""Aliases expanded."""


@dataclass(frozen=True, slots=True)
class Scalar:
    text: str
    plain: bool
    """Written without quotes."""
    where: Location


@dataclass(frozen=True, slots=True)
class Entry:
    key_where: Location
    node: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: dict[str, Entry]
    where: Location
    replaces: bool = False
    """As an overlay: takes the place of what it lies over, instead of merging into it."""


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    where: Location


Node = Scalar | Mapping | Sequence


class Unreadable(Exception):  # noqa: N818 - raised and caught in this package only
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?|[-+]?[0-9]+[eE][-+]?[0-9]{1,3}")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def resolve(text: str) -> object:
    """A plain scalar's value: None, bool, int, float, or the text itself."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) <= 40:
        if _INT.fullmatch(text):
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text) and abs(number := float(text)) != float("inf"):
            return number
    return text


def is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and node.text in _NULL


def read(text: str, file: str) -> tuple[Mapping, tuple[Problem, ...]]:
    """The tree, and what is wrong but does not hide the rest. Raises Unreadable when there is no tree."""
    if found := _UNPRINTABLE.search(text):
        raise Unreadable(
            Problem(
                f"the character U+{ord(found[0]):04X} cannot stand in YAML",
                where=position(text, found.start(), file),
                hint="remove it; some editors show it as a blank",
            )
        )
    builder = _Builder(file)
    try:
        tree = builder.document(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_syntax(error, text, file)) from None
    except yaml.YAMLError as error:
        raise Unreadable(Problem(f"not YAML: {error}".splitlines()[0], where=Location(file, 1, 1))) from None
    if tree is None or is_null(tree):
        raise Unreadable(
            Problem(
                "the file is empty", where=Location(file, 1, 1), hint="start from one of: infctl profiles"
            )
        )
    if not isinstance(tree, Mapping):
        raise Unreadable(
            Problem(
                f"a profile is a mapping, this is {'a list' if isinstance(tree, Sequence) else 'text'}",
                where=tree.where,
                hint="the first line that says something reads like name: my-platform",
            )
        )
    return tree, tuple(builder.problems)


def position(text: str, offset: int, file: str) -> Location:
    before = text[:offset]
    return Location(file, before.count("\n") + 1, offset - before.rfind("\n"))


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file, 1, 1)
    lines = text.splitlines()
    line = lines[where.line - 1] if where.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        tab = Location(file, where.line, line.index("\t") + 1)
        return Problem("a tab indents this line", where=tab, hint="YAML is indented with spaces")
    if re.search(r"[\[{,]\s*[^\"']*[^\"'$]*\$\{", line):
        return Problem("not YAML here", where=where, hint='inside { } and [ ] put it in quotes: "${NAME}"')
    said = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(
        f"not YAML: {said}", where=where, hint="look at the indentation, colons and quotes just before"
    )


class _Builder:
    """Events -> nodes. One file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Node, int] | None] = {}
        self.nodes = 0

    def document(self, events: Iterator[Any]) -> Node | None:
        tree: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if tree is not None:
                    where = self._where(event)
                    self.problems.append(
                        Problem(
                            "a second document begins here", where=where, hint="one file holds one profile"
                        )
                    )
                    return tree
                tree = self._node(next(events), events, 0)
        return tree

    def _where(self, event: Any) -> Location:
        return Location(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        where = self._where(event)
        if depth > DEPTH_MAX:
            raise Unreadable(
                Problem(f"nested more than {DEPTH_MAX} deep", where=where, hint="a profile is six deep")
            )
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), where)
        self._count(1, where)
        if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
            self.problems.append(
                Problem(
                    f"the tag {shown(event.tag)} is not read", where=where, hint="write the value without it"
                )
            )
        before = self.nodes
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        node = self._plain_node(event, events, where, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, self.nodes - before + 1)
        return node

    def _plain_node(self, event: Any, events: Iterator[Any], where: Location, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            plain = not event.style and event.tag is None
            return Scalar(event.value, plain, where)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._node(event, events, depth + 1))
            return Sequence(tuple(items), where)
        return self._mapping(events, where, depth)

    def _mapping(self, events: Iterator[Any], where: Location, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: list[Mapping] = []
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key_where = self._where(event)
            key = self._node(event, events, depth + 1)
            node = self._node(next(events), events, depth + 1)
            if not isinstance(key, Scalar) or not 1 <= len(key.text) <= KEY_MAX or not key.text.isprintable():
                self.problems.append(Problem("a key is one word", where=key_where, hint="write key: value"))
            elif key.text == "<<" and key.plain:
                merged.extend(self._sources(node))
            elif key.text in entries:
                first = entries[key.text].key_where.line
                self.problems.append(
                    Problem(
                        f"{shown(key.text)} is written twice, first in line {first}",
                        where=key_where,
                        hint="keep one of them",
                    )
                )
            else:
                entries[key.text] = Entry(key_where, node)
        for source in merged:
            for name, entry in source.entries.items():
                entries.setdefault(name, entry)
        return Mapping(entries, where)

    def _sources(self, node: Node) -> Iterator[Mapping]:
        for item in node.items if isinstance(node, Sequence) else (node,):
            if isinstance(item, Mapping):
                yield item
            else:
                self.problems.append(Problem("<< merges mappings only", where=item.where, hint="<<: *name"))

    def _alias(self, name: str, where: Location) -> Node:
        if name not in self.anchors:
            raise Unreadable(
                Problem(f"*{name} names no &{name} above", where=where, hint="an anchor comes first")
            )
        known = self.anchors[name]
        if known is None:
            raise Unreadable(Problem(f"*{name} contains itself", where=where, hint="write it out"))
        node, nodes = known
        self._count(nodes, where)
        return replace(node, where=where) if isinstance(node, Scalar) else node

    def _count(self, nodes: int, where: Location) -> None:
        self.nodes += nodes
        if self.nodes > NODES_MAX:
            raise Unreadable(
                Problem(
                    f"more than {NODES_MAX:,} values, aliases expanded", where=where, hint="fewer aliases"
                )
            )
