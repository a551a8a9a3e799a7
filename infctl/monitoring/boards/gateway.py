"""Gateway: the proxy itself, and what it sees of its backends. Pure."""

from __future__ import annotations

from infctl.monitoring.boards.board import MODEL, RATE, Board, Panel, Query, Row, line
from infctl.monitoring.boards.service import M, p
from infctl.monitoring.terms import Terms

OVERHEAD = "infctl_gateway_overhead_seconds"
WAIT = "infctl_queue_wait_seconds"


def rate(metric: str, by: str, match: str = M) -> str:
    return f"sum by ({by}) (rate({metric}{{{match}}}{RATE}))"


def breaker(state: str) -> str:
    return f'infctl_backend_breaker_state{{{M},state="{state}"}}'


def board(_: Terms) -> Board:
    lag = "infctl_event_loop_lag_seconds"
    return Board(
        "gateway",
        "Gateway",
        "The proxy itself, and what it sees of the engines.",
        (
            Row(
                "Calls",
                (
                    line(
                        "By outcome",
                        "reqps",
                        "ok; refused by us; rejected by an engine as wrong; the rest are faults.",
                        (rate("infctl_requests_total", "outcome"), "{{outcome}}"),
                        stacked=True,
                    ),
                    line(
                        "Refusals by reason",
                        "reqps",
                        "Limits and quotas, no place, no engine, wrong keys.",
                        (rate("infctl_requests_total", "reason", f'{M},outcome="refused"'), "{{reason}}"),
                        stacked=True,
                    ),
                    line(
                        "Own overhead",
                        "s",
                        "From the whole request to its sending, without waiting for a place.",
                        (p(0.5, OVERHEAD), "{{model}} p50"),
                        (p(0.99, OVERHEAD), "{{model}} p99"),
                    ),
                    line(
                        "Wait for a place",
                        "s",
                        "Of calls that had to wait. Up to queue_timeout.",
                        (p(0.5, WAIT), "{{model}} p50"),
                        (p(0.95, WAIT), "{{model}} p95"),
                    ),
                    line(
                        "Waiting and in flight",
                        "short",
                        "Calls that wait, and calls at an engine.",
                        (f"sum by (model) (infctl_queue_waiting{{{M}}})", "{{model}} waiting"),
                        (f"sum by (model) (infctl_requests_in_flight{{{M}}})", "{{model}} in flight"),
                    ),
                    line(
                        "Refused for want of a place",
                        "reqps",
                        "full: too many waited; timeout: it took too long.",
                        (rate("infctl_queue_refused_total", "model, reason"), "{{model}} {{reason}}"),
                    ),
                ),
            ),
            Row(
                "Backends",
                (
                    line(
                        "In flight by backend",
                        "short",
                        "Even, where the policy is least_in_flight.",
                        (f"sum by (backend) (infctl_requests_in_flight{{{M}}})", "{{backend}}"),
                    ),
                    line(
                        "Attempts and failures",
                        "reqps",
                        "Calls given to each backend, and those that it failed.",
                        (rate("infctl_backend_attempts_total", "backend"), "{{backend}}"),
                        (rate("infctl_backend_failures_total", "backend"), "{{backend}} failed"),
                    ),
                    Panel(
                        "Breakers",
                        "none",
                        "0 closed, 1 trying, 2 open.",
                        (
                            Query(
                                f"max by (backend) (2 * {breaker('open')}"
                                f" + on (instance, model, backend) {breaker('half_open')})",
                                "{{backend}}",
                            ),
                        ),
                        kind="state-timeline",
                    ),
                    line(
                        "Retries",
                        "reqps",
                        "Sent again after a failure; and those that were held back.",
                        (rate("infctl_retries_total", "backend, reason"), "{{backend}} {{reason}}"),
                        (rate("infctl_retries_refused_total", "reason"), "held back: {{reason}}"),
                    ),
                    line(
                        "Probes",
                        "reqps",
                        "What the gateway's own questions found.",
                        (
                            f"sum by (backend, outcome) (rate(infctl_backend_probes_total{RATE}))",
                            "{{backend}} {{outcome}}",
                        ),
                    ),
                    line(
                        "Cache",
                        "reqps",
                        "Calls whose answer may be kept.",
                        (rate("infctl_cache_requests_total", "outcome"), "{{outcome}}"),
                        stacked=True,
                    ),
                ),
            ),
            Row(
                "Itself",
                (
                    line(
                        "Event-loop lag",
                        "s",
                        "How late timers ring. Above 0.1 s: too little CPU.",
                        (
                            f"histogram_quantile(0.99, sum by (le, instance) (rate({lag}_bucket{RATE})))",
                            "{{instance}} p99",
                        ),
                    ),
                    line(
                        "Connections of clients",
                        "short",
                        "Open ones.",
                        ("sum by (instance) (infctl_client_connections)", "{{instance}}"),
                    ),
                    line(
                        "Audit trail",
                        "short",
                        "Records that wait, and that were lost in five minutes. Lost is bad.",
                        ("sum by (instance) (infctl_audit_queue)", "{{instance}} waiting"),
                        (
                            "sum by (instance) (increase(infctl_audit_records_lost_total[5m]))",
                            "{{instance}} lost",
                        ),
                    ),
                    line(
                        "Store of counts",
                        "none",
                        "1: it answers.",
                        ("min by (instance) (infctl_store_up)", "{{instance}}"),
                    ),
                    line(
                        "Hidden by redaction",
                        "short",
                        "What was hidden in log and audit trail, a second, by kind.",
                        (f"sum by (kind) (rate(infctl_redactions_total{RATE}))", "{{kind}}"),
                    ),
                    line(
                        "Disk free",
                        "percentunit",
                        "Of the disks of store and audit trail.",
                        (
                            "min by (instance, kind) (infctl_disk_free_bytes / (infctl_disk_bytes > 0))",
                            "{{instance}} {{kind}}",
                        ),
                    ),
                    line(
                        "Up since",
                        "dateTimeFromNow",
                        "When each gateway started.",
                        ("min by (instance) (infctl_start_time_seconds) * 1000", "{{instance}}"),
                        kind="stat",
                        height=4,
                    ),
                    line(
                        "Certificate ends",
                        "dateTimeFromNow",
                        "Of what clients see at the edge.",
                        ("min by (instance) (infctl_certificate_end_time_seconds) * 1000", "{{instance}}"),
                        kind="stat",
                        height=4,
                    ),
                    line(
                        "Version",
                        "none",
                        "Which gateway runs.",
                        ("max by (instance, version) (infctl_build_info)", "{{instance}} {{version}}"),
                        kind="table",
                        height=4,
                    ),
                ),
            ),
        ),
        (MODEL,),
    )
