"""The gateway, and what it knows of the engines behind it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infctl.monitoring.alerts.alert import Alert
from infctl.monitoring.terms import DAY_S, HOUR_S, Terms

BROKEN = "error|truncated|idle"
"""Ends of streams that are nobody's wish."""


def table(terms: Terms) -> Iterator[Alert]:
    span, wait = terms.span, terms.wait
    free = "infctl_disk_free_bytes / infctl_disk_bytes"
    yield Alert(
        "GatewayDown",
        "gateway",
        "page",
        'up{job="gateway"} == 0',
        wait(60),
        "The gateway at {{ $labels.instance }} cannot be read: nobody may be served.",
    )
    yield Alert(
        "GatewayMissing",
        "gateway",
        "page",
        'absent(up{job="gateway"})',
        wait(120),
        "Prometheus knows of no gateway at all.",
    )
    yield Alert(
        "NoHealthyBackend",
        "gateway",
        "page",
        "sum by (model) (max by (model, backend) (infctl_backend_up)) == 0",
        wait(30),
        "Nothing serves {{ $labels.model }}: each of its calls is refused.",
    )
    yield Alert(
        "BackendDown",
        "gateway",
        "ticket",
        "max by (model, backend) (infctl_backend_up) == 0 unless on (model, backend)"
        ' max by (model, backend) (infctl_backend_state{state=~"draining|drained|loading"}) == 1',
        wait(120),
        "{{ $labels.backend }} of {{ $labels.model }} gets no calls, and no operator wished so.",
    )
    yield Alert(
        "BreakerFlapping",
        "gateway",
        "ticket",
        "sum by (model, backend)"
        f' (increase(infctl_backend_breaker_changes_total{{state="open"}}[{span(900)}])) >= 3',
        "",
        "{{ $labels.backend }} fails, recovers and fails again.",
    )
    yield Alert(
        "QueueTimeouts",
        "gateway",
        "page",
        f"sum by (model) (rate(infctl_queue_refused_total[{span(300)}]))"
        f" / (sum by (model) (rate(infctl_requests_total[{span(300)}])) > 0) > 0.02",
        wait(300),
        "Calls to {{ $labels.model }} are refused for want of a place at its engines.",
    )
    yield Alert(
        "StreamsBreak",
        "gateway",
        "ticket",
        f'sum by (model) (rate(infctl_streams_total{{outcome=~"{BROKEN}"}}[{span(600)}]))'
        f" / (sum by (model) (rate(infctl_streams_total[{span(600)}])) > 0) > 0.02",
        wait(300),
        "Streams of {{ $labels.model }} end before their answer does.",
    )
    yield Alert(
        "RetryBudgetUsedUp",
        "gateway",
        "ticket",
        f'sum by (model) (rate(infctl_retries_refused_total{{reason="budget"}}[{span(300)}])) > 0',
        wait(300),
        "So many calls to {{ $labels.model }} fail that not all can be sent again.",
    )
    yield Alert(
        "StoreDown",
        "gateway",
        "page",
        "min by (instance) (infctl_store_up) == 0",
        wait(60),
        "The store of counts does not answer {{ $labels.instance }}: quotas will be refused soon.",
    )
    yield Alert(
        "AuditFailing",
        "gateway",
        "page",
        "max by (instance) (infctl_audit_failing) == 1",
        wait(60),
        "{{ $labels.instance }} cannot write the audit trail.",
    )
    yield Alert(
        "AuditLost",
        "gateway",
        "page",
        f"sum by (instance) (increase(infctl_audit_records_lost_total[{span(300)}])) > 0",
        "",
        "Records of {{ $labels.instance }} are missing from the audit trail for good.",
    )
    yield Alert(
        "RedactionFails",
        "gateway",
        "page",
        f'sum by (instance) (increase(infctl_redactions_total{{kind="failed"}}[{span(300)}])) > 0',
        "",
        "{{ $labels.instance }} hides whole lines, as it could not hide parts of them.",
    )
    yield Alert(
        "LogLinesLost",
        "gateway",
        "ticket",
        f"sum by (instance) (increase(infctl_log_lines_lost_total[{span(300)}])) > 0",
        "",
        "Nobody reads the log of {{ $labels.instance }} fast enough: lines are dropped.",
    )
    yield Alert(
        "EventLoopLags",
        "gateway",
        "ticket",
        "histogram_quantile(0.99, sum by (le, instance)"
        f" (rate(infctl_event_loop_lag_seconds_bucket[{span(300)}]))) > 0.1",
        wait(300),
        "{{ $labels.instance }} is short of CPU: every answer waits.",
    )
    yield Alert(
        "GatewayRestarts",
        "gateway",
        "page",
        f"(sum by (instance) (changes(infctl_start_time_seconds[{span(1800)}])) >= 2)"
        f" or (sum by (instance) (increase(infctl_worker_restarts_total[{span(1800)}])) >= 3)",
        "",
        "{{ $labels.instance }} ends and starts again and again.",
    )
    yield Alert(
        "ReloadRefused",
        "gateway",
        "ticket",
        f'sum by (instance) (increase(infctl_config_reloads_total{{outcome="refused"}}[{span(900)}])) > 0',
        "",
        "{{ $labels.instance }} was given a configuration that it refused: the one before is in force.",
    )
    yield Alert(
        "DiskNearlyFull",
        "gateway",
        "ticket",
        f"{free} < 0.1 or ({free} < 0.3 and"
        f" predict_linear(infctl_disk_free_bytes[{span(6 * HOUR_S)}], {DAY_S * terms.scale:.0f}) < 0)",
        wait(600),
        "The disk of the {{ $labels.kind }} of {{ $labels.instance }} is nearly full, or will be in a day.",
    )
    yield Alert(
        "CertificateEnds",
        "gateway",
        "ticket",
        "min by (instance) (infctl_certificate_end_time_seconds) - time()"
        f" < {terms.certificate_days * DAY_S:.0f}",
        wait(1800),
        "The TLS certificate that clients of {{ $labels.instance }} see ends soon.",
    )
