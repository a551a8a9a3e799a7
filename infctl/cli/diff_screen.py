"""The screen of `infctl diff`, and the head of `infctl up`, as lines. Pure.

    name · 2 to replace, 1 to reload, 7 unchanged

      ~ chat0     replace   --max-model-len 8192 -> 16384   KV tokens 80,400 -> 79,900   away 0 s (...)
      ~ chat1     replace   same

Where that does not fit the window, effect and absence go to lines of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from infctl.cli.consequences import Setting, away, unserved
from infctl.cli.figures import as_is, labelled, plain
from infctl.cli.text import Paint, plural, unpainted
from infctl.engine.model import Action, ActionKind
from infctl.engine.reconcile import SIGNS
from infctl.files import Change
from infctl.stack import Stack

_KINDS: tuple[ActionKind, ...] = ("create", "start", "replace", "reload", "remove")
_STYLES = {"create": "good", "start": "good", "replace": "warning", "reload": "hint", "remove": "error"}
_GAP = "   "
_INDENT = 6


@dataclass(frozen=True, slots=True)
class _Row:
    action: Action
    cause: str
    effect: str
    away: str

    @property
    def cells(self) -> tuple[str, str, str]:
        return self.cause, self.effect, self.away


def lines(
    setting: Setting,
    actions: Sequence[Action],
    changes: Sequence[Change],
    width: int,
    *,
    utf8: bool = True,
    paint: Paint = unpainted,
) -> list[str]:
    """`actions` with their consequences, `changes` of rendered files."""
    words = as_is if utf8 else plain
    out = [paint(words(heading(setting, actions, changes)), "bold")]
    rows = _rows(setting, folded(actions), words)
    if rows:
        name = max(len(row.action.service) for row in rows)
        kind = max(len(row.action.kind) for row in rows)
        widths = [max(len(row.cells[number]) for row in rows) for number in range(3)]
        head = _INDENT - 2 + name + 2 + kind + len(_GAP)
        flat = head + sum(each + len(_GAP) for each in widths if each) - len(_GAP) <= width
        out.append("")
        for row in rows:
            sign = paint(words(SIGNS[row.action.kind]), _STYLES.get(row.action.kind, "dim"))
            lead = f"  {sign} {row.action.service:<{name}}  {row.action.kind:<{kind}}{_GAP}"
            out += [lead + _in_a_line(row, widths)] if flat else _below(lead, head, row, width)
    told = [words(text) for text in unserved(actions, setting)]
    told += [words(f"note: {text}") for text in setting.observed.notes]
    return [*out, *(["", *told] if told else [])]


def heading(setting: Setting, actions: Sequence[Action], changes: Sequence[Change]) -> str:
    """`name · 2 to replace, 1 to reload, 7 unchanged`."""
    counts = Counter(action.kind for action in actions)
    parts = [f"{counts[kind]} to {kind}" for kind in _KINDS if counts[kind]]
    touched = {action.service for action in actions}
    same = sum(name not in touched for name in _names(setting.stack))
    if same and actions:
        parts.append(f"{same} unchanged")
    if changes and not actions:
        parts.append(f"no service to change, {plural(len(changes), 'file')} to write")
    return f"{setting.stack.name} · {', '.join(parts) or 'nothing to change'}"


def _names(stack: Stack) -> list[str]:
    """Services, and of containers those that stay."""
    more = (one for project in stack.projects for one in project.containers if not one.one_shot)
    return list(dict.fromkeys((*(s.name for s in stack.services), *(one.service for one in more))))


def folded(actions: Sequence[Action]) -> list[Action]:
    """Networks and volumes that are to be made, a row each kind: they mean nothing one by one."""
    out: list[Action] = []
    for action in actions:
        kind, space, name = action.service.partition(" ")
        last = out[-1] if out else None
        if not space or action.kind != "create":
            out.append(action)
        elif last is not None and last.service == f"{kind}s":
            out[-1] = replace(last, cause=f"{last.cause}, {name}")
        else:
            out.append(replace(action, service=f"{kind}s", cause=name))
    return out


def _rows(setting: Setting, actions: Sequence[Action], words: Callable[[str], str]) -> list[_Row]:
    rows: list[_Row] = []
    before: tuple[str, ...] = ()
    for action in actions:
        row = _Row(action, words(action.cause), words(action.effect), words(away(action, setting)))
        now = (action.kind, *row.cells, *_models(setting, action.service))
        alike = now == before and bool(row.effect or row.away)
        rows.append(_Row(action, "same", "", "") if alike else row)
        before = now
    return rows


def _models(setting: Setting, service: str) -> tuple[str, ...]:
    return next((s.models for s in setting.stack.services if s.name == service), ())


def _in_a_line(row: _Row, widths: Sequence[int]) -> str:
    cells = zip(row.cells, widths, strict=True)
    return _GAP.join(f"{cell:<{each}}" for cell, each in cells if each).rstrip()


def _below(lead: str, head: int, row: _Row, width: int) -> list[str]:
    """The cause beside its service, effect and absence under it."""
    first, *rest = labelled("", row.cause, width, indent=head)
    out = [lead + first.lstrip(), *rest]
    for cell in (row.effect, row.away):
        out += labelled("", cell, width, indent=head) if cell else []
    return out
