"""Tenants and what they may use. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infctl.monitoring.alerts.alert import Alert
from infctl.monitoring.terms import Terms

QUOTAS = "requests_per_day|tokens_per_day|requests_per_month|tokens_per_month"

RATES = "requests_per_second|in_flight|tokens_per_minute"


def table(terms: Terms) -> Iterator[Alert]:
    span, wait = terms.span, terms.wait
    yield Alert(
        "QuotaNearlyUsed",
        "tenants",
        "ticket",
        f'min by (tenant, limit) (infctl_limit_left{{limit=~"{QUOTAS}"}})'
        f' / (max by (tenant, limit) (infctl_limit{{limit=~"{QUOTAS}"}}) > 0) < 0.1',
        wait(300),
        "{{ $labels.tenant }} has used nearly all of its {{ $labels.limit }}.",
    )
    yield Alert(
        "QuotaUsedUp",
        "tenants",
        "ticket",
        "sum by (tenant, reason)"
        f' (increase(infctl_requests_total{{outcome="refused",reason=~"{QUOTAS}"}}[{span(300)}])) > 0',
        wait(60),
        "{{ $labels.tenant }} is refused: its {{ $labels.reason }} is used up.",
    )
    yield Alert(
        "TenantHeldBack",
        "tenants",
        "ticket",
        f'sum by (tenant) (rate(infctl_requests_total{{outcome="refused",reason=~"{RATES}"}}[{span(600)}]))'
        f" / (sum by (tenant) (rate(infctl_requests_total[{span(600)}])) > 0) > 0.5",
        wait(600),
        "More than half of what {{ $labels.tenant }} asks is refused by its rate limits.",
    )
    yield Alert(
        "ReservationTooSmall",
        "tenants",
        "ticket",
        f"sum by (instance) (increase(infctl_tokens_beyond_reserved_total[{span(900)}])) > 0",
        "",
        "An engine used more tokens than {{ $labels.instance }} had reserved: a quota may be passed.",
    )
