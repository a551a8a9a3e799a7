"""Figures that are computed once and used by rules and panels. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from infctl.monitoring.terms import DAY_S, HOUR_S, Terms

FAULTS: Final = "upstream_error|upstream_truncated|upstream_timeout|cut|failed"
"""Outcomes that are the platform's; but for a client's own deadline."""
FAULTS_REFUSED: Final = (
    "no_healthy_backend|model_loading|overloaded|queue_timeout|draining|upstream_timeout|quota_unavailable"
    "|audit_unavailable|store_unavailable|internal_error"
)
"""Reasons of refusals that are as much."""
WINDOWS: Final = {
    "5m": 300.0,
    "30m": 1800.0,
    "1h": HOUR_S,
    "2h": 2 * HOUR_S,
    "6h": 6 * HOUR_S,
    "1d": DAY_S,
    "3d": 3 * DAY_S,
}


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    expr: str
    labels: dict[str, str] = field(default_factory=dict)


def recordings(terms: Terms) -> Iterator[Recording]:
    for name, seconds in WINDOWS.items():
        span = terms.span(seconds)
        faults = (
            f'rate(infctl_requests_total{{outcome=~"{FAULTS}",reason!="deadline"}}[{span}])'
            f' or rate(infctl_requests_total{{outcome="refused",reason=~"{FAULTS_REFUSED}"}}[{span}])'
            f" or 0 * rate(infctl_requests_total[{span}])"  # none is 0, and not unknown
        )
        yield Recording(
            f"infctl:requests_failed:ratio_{name}",
            f"sum by (model) ({faults}) / (sum by (model) (rate(infctl_requests_total[{span}])) > 0)",
        )
    bound = str(float(terms.first_token_s))
    for name, seconds in WINDOWS.items():
        span = terms.span(seconds)
        first = "infctl_time_to_first_token_seconds"
        yield Recording(
            f"infctl:first_token_late:ratio_{name}",
            f'1 - sum by (model) (rate({first}_bucket{{le="{bound}"}}[{span}]))'
            f" / (sum by (model) (rate({first}_count[{span}])) > 0)",
        )
    for card in terms.cards:
        gpu = {"gpu": str(card.index)}
        if card.planned_bytes is not None:
            yield Recording("infctl:gpu_memory_planned:bytes", f"vector({card.planned_bytes})", gpu)
        for model, backend in card.engines:
            yield Recording("infctl:gpu_engine:info", "vector(1)", gpu | {"model": model, "backend": backend})
