"""`-f base.yaml -f site.yaml`: later files lie over earlier ones. Pure, and associative.

    mapping over mapping    key by key
    anything else           the later one whole (lists too)
    null                    takes the key away
    models                  by name, also where they are written as a list of {name: ...}
    source, gpu             whole, where the later one says which kind it is ({path} over {hub, revision})

`over(over(a, b), c) == over(a, over(b, c))`: a null is kept until the end, and a mapping that once lay over
something else than a mapping remembers (`Mapping.replaces`) that it merges with nothing below it.
"""

from __future__ import annotations

from dataclasses import replace

from infctl.errors import Problem
from infctl.profile.tree import Entry, Mapping, Node, Scalar, Sequence

_KINDS = {"source": ("hub", "path", "package"), "gpu": ("index", "uuid", "share")}


def over(lower: Mapping, upper: Mapping) -> Mapping:
    """Two normal trees -> one. Locations are those of the values that won."""
    entries = dict(lower.entries)
    for key, entry in upper.entries.items():
        below = entries.get(key)
        entries[key] = entry if below is None else Entry(entry.key_where, _node(below.node, entry.node))
    return Mapping(entries, upper.where, lower.replaces)


def _node(lower: Node, upper: Node) -> Node:
    if not isinstance(upper, Mapping):
        return upper
    if upper.replaces or not isinstance(lower, Mapping):
        return replace(upper, replaces=True)
    return over(lower, upper)


def normal(tree: Mapping) -> tuple[Mapping, tuple[Problem, ...]]:
    """A file's tree with models by name, and `source` and `gpu` marked where they replace."""
    models = tree.entries.get("models")
    if models is None:
        return tree, ()
    problems: list[Problem] = []
    node = _by_name(models.node, problems) if isinstance(models.node, Sequence) else models.node
    if isinstance(node, Mapping):
        marked = {name: Entry(entry.key_where, _marked(entry.node)) for name, entry in node.entries.items()}
        node = replace(node, entries=marked)
    return replace(tree, entries={**tree.entries, "models": Entry(models.key_where, node)}), tuple(problems)


def _marked(model: Node) -> Node:
    if not isinstance(model, Mapping):
        return model
    entries = dict(model.entries)
    for field, kinds in _KINDS.items():
        entry = entries.get(field)
        if (
            entry is not None
            and isinstance(entry.node, Mapping)
            and any(k in entry.node.entries for k in kinds)
        ):
            entries[field] = Entry(entry.key_where, replace(entry.node, replaces=True))
    return replace(model, entries=entries)


def _by_name(models: Sequence, problems: list[Problem]) -> Mapping:
    named: dict[str, Entry] = {}
    for index, item in enumerate(models.items):
        path = f"models/{index}"
        name = item.entries.get("name") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or name is None or not isinstance(name.node, Scalar):
            problems.append(
                Problem(
                    "a model in a list needs its name",
                    path,
                    item.where,
                    "- name: chat, or models: {chat: ...}",
                )
            )
            continue
        if name.node.text in named:
            problems.append(
                Problem(
                    f'"{name.node.text}" is written twice', path, name.node.where, "keep one, or rename it"
                )
            )
            continue
        rest = {key: entry for key, entry in item.entries.items() if key != "name"}
        named[name.node.text] = Entry(name.node.where, replace(item, entries=rest))
    return Mapping(named, models.where)
