"""Every name that dashboards and rules ask for, with who asks for it; and which nobody tells. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from infctl.monitoring.alerts import alerts
from infctl.monitoring.boards import boards
from infctl.monitoring.names import metrics_in
from infctl.monitoring.recordings import recordings
from infctl.monitoring.terms import Terms

Source = Literal["gateway", "vllm", "dcgm", "prometheus", "rules", "targets"]
KINDS: Final[tuple[tuple[str, Source], ...]] = (
    ("infctl_", "gateway"),
    ("vllm:", "vllm"),
    ("DCGM_", "dcgm"),
    ("prometheus_", "prometheus"),
)
"""How names begin by which a page is known for what it is."""
TOLD_BY: Final = (
    *KINDS,
    ("infctl:", "rules"),
    ("gen_ai_", "gateway"),
    # Of all that is read only of engines is it asked when they began.
    ("process_", "vllm"),
)
"""How a name begins -> who tells it. `targets`: Prometheus itself, of whoever it reads, such as `up`."""


@dataclass(frozen=True, slots=True)
class Use:
    """One name."""

    name: str
    source: Source
    users: tuple[str, ...]
    """`panel Models / KV cache`, `alert EngineDown`, `recording infctl:...`."""


@dataclass(frozen=True, slots=True)
class Missing:
    use: Use
    pages: tuple[str, ...]
    """Of its kind, none of which tells it."""


def source_of(name: str) -> Source:
    found: Iterator[Source] = (source for begins, source in TOLD_BY if name.startswith(begins))
    return next(found, "targets")


def uses(terms: Terms, *, gpus_watched: bool) -> tuple[Use, ...]:
    """By name. `gpus_watched`: with what asks for DCGM's."""
    users: dict[str, list[str]] = {}
    for user, expr in _exprs(terms, gpus_watched=gpus_watched):
        for name in metrics_in(expr):
            users.setdefault(name, []).append(user)
    return tuple(
        Use(name, source_of(name), tuple(dict.fromkeys(found))) for name, found in sorted(users.items())
    )


Pages = Mapping[Source, Mapping[str, frozenset[str]]]
"""Of each kind that was read: whose page -> the names on it."""


def missing(asked: Collection[Use], pages: Pages) -> Iterator[Missing]:
    """Of kinds that were read. One page of a kind is enough: what an encoder does not tell, another may."""
    for use in asked:
        told = pages.get(use.source)
        if told and not any(use.name in names for names in told.values()):
            yield Missing(use, tuple(told))


def _exprs(terms: Terms, *, gpus_watched: bool) -> Iterator[tuple[str, str]]:
    """(who asks, what)."""
    for each in recordings(terms):
        yield f"recording {each.name}", each.expr
    for alert in alerts(terms, gpus_watched=gpus_watched):
        yield f"alert {alert.name}", alert.expr
    for board in boards(terms, gpus_watched=gpus_watched):
        for panel in board.panels:
            for query in panel.queries:
                yield f"panel {board.title} / {panel.title}", query.expr
        for variable in board.variables:
            # label_values(metric, label)
            asked = variable.query.partition("(")[2].partition(",")[0]
            yield f"choice of {variable.name} in {board.title}", asked
