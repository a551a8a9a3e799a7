"""The monitoring of the monitoring. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infctl.monitoring.alerts.alert import Alert
from infctl.monitoring.terms import Terms


def table(terms: Terms) -> Iterator[Alert]:
    span = terms.span
    yield Alert(
        "RulesFail",
        "monitoring",
        "ticket",
        f"sum by (instance) (increase(prometheus_rule_evaluation_failures_total[{span(600)}])) > 0",
        "",
        "Prometheus cannot compute some of its rules: alerts may be missing.",
    )
    yield Alert(
        "AlertsNotSent",
        "monitoring",
        "page",
        f"sum by (instance) (increase(prometheus_notifications_errors_total[{span(600)}])) > 0",
        "",
        "Prometheus cannot hand alerts to Alertmanager.",
    )
    yield Alert(
        "Watchdog",
        "monitoring",
        "none",
        "vector(1)",
        "",
        "Always there. Where it stops to arrive, nobody is told of anything.",
    )
