"""The alerts, a table a subject. Pure.

page     somebody is woken: users are not served, or something is lost that cannot be had again
ticket   somebody looks at it on the next day
none     always there: its absence says that nobody is told of anything
"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.monitoring.alerts import engines, gateways, gpus, itself, promises, tenants
from infctl.monitoring.alerts.alert import Alert, Severity
from infctl.monitoring.terms import Terms

__all__ = ["Alert", "Severity", "alerts"]


def alerts(terms: Terms, *, gpus_watched: bool, engines_watched: bool = True) -> Iterator[Alert]:
    """`gpus_watched`: the GPUs' exporter is read."""
    yield from promises.table(terms)
    yield from gateways.table(terms)
    yield from tenants.table(terms)
    if engines_watched:
        yield from engines.table(terms)
    if gpus_watched:
        yield from gpus.table(terms)
    yield from itself.table(terms)
