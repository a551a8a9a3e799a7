"""Recordings and alerts as Prometheus's rule files. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infctl.monitoring.alerts import Alert, alerts
from infctl.monitoring.recordings import recordings
from infctl.monitoring.terms import Terms

RUNBOOKS = "docs/runbooks"


def recording_groups(terms: Terms) -> list[dict[str, Any]]:
    rules = []
    for each in recordings(terms):
        rule: dict[str, Any] = {"record": each.name, "expr": each.expr}
        rules.append(rule | ({"labels": each.labels} if each.labels else {}))
    return [{"name": "infctl-recordings", **_interval(terms), "rules": rules}]


def alert_groups(found: Iterator[Alert], terms: Terms) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for alert in found:
        groups.setdefault(alert.subject, []).append(_rule(alert))
    return [
        {"name": f"infctl-{subject}", **_interval(terms), "rules": rules} for subject, rules in groups.items()
    ]


def all_groups(terms: Terms, *, gpus_watched: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of recordings, and of alerts."""
    return recording_groups(terms), alert_groups(alerts(terms, gpus_watched=gpus_watched), terms)


def _interval(terms: Terms) -> dict[str, str]:
    """Between two evaluations; left to Prometheus's own where nothing is scaled."""
    return {} if terms.scale == 1 else {"interval": terms.wait(30) if terms.scale * 30 > 1 else "1s"}


def _rule(alert: Alert) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": alert.expr}
    if alert.wait:
        rule["for"] = alert.wait
    rule["labels"] = {"severity": alert.severity}
    rule["annotations"] = {"summary": alert.summary, "runbook": f"{RUNBOOKS}/{alert.name}.md"}
    return rule
