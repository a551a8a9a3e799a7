"""What the profile promises and plans, as rules and panels need it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infctl.plan import Plan
from infctl.profile.schema import Profile

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
FIRST_TOKEN_BOUNDS_S: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 40.0,
    80.0, 160.0, 640.0,
)  # fmt: skip
"""Buckets of the gateway's infctl_time_to_first_token_seconds."""
FIRST_TOKEN_SHARE: Final = 0.95
"""Of `slo.ttft_p95`."""


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU that engines use."""

    index: int
    planned_bytes: int | None
    """None: nothing was sized."""
    engines: tuple[tuple[str, str], ...]
    """(model, backend), each."""


@dataclass(frozen=True, slots=True)
class Terms:
    availability: float
    """Share of requests that are not answered with a fault of the platform."""
    first_token_s: float
    """A bucket's bound: the promised time, or the next bound above it."""
    window_s: float
    """Over which promises are counted."""
    certificate_days: int
    scrape_s: float
    scale: float = 1.0
    """Of every duration in rules: 0.01 for tests that cannot wait."""
    cards: tuple[Card, ...] = ()
    gateways: int = 1

    @property
    def errors(self) -> float:
        """The share that may fail."""
        return 1 - self.availability

    @property
    def late(self) -> float:
        """The share of streams that may begin later than promised."""
        return 1 - FIRST_TOKEN_SHARE

    def span(self, seconds: float) -> str:
        """The window of a rate: scaled, and long enough to hold four readings."""
        return duration(max(seconds * self.scale, 4 * self.scrape_s))

    def wait(self, seconds: float) -> str:
        """How long something has to last: scaled."""
        return duration(seconds * self.scale)

    def burn(self, share: float, hours: float) -> float:
        """How many times too fast a budget is used that loses `share` of itself in so many hours."""
        return round(share * self.window_s / (hours * HOUR_S), 3)


def terms(profile: Profile, plan: Plan, *, scale: float = 1.0) -> Terms:
    monitoring = profile.monitoring
    slo = monitoring.slo
    planned = {use.gpu.index: round(use.used.high) for use in plan.uses}
    engines: dict[int, list[tuple[str, str]]] = {}
    for replica in plan.replicas:
        for gpu in replica.gpus:
            engines.setdefault(gpu.index, []).append((replica.model, f"vllm-{replica.service}"))
    return Terms(
        availability=slo.availability,
        first_token_s=bound(slo.ttft_p95),
        window_s=slo.window,
        certificate_days=monitoring.alerts.certificate_days,
        scrape_s=monitoring.prometheus.scrape_interval,
        scale=scale,
        cards=tuple(
            Card(index, planned.get(index), tuple(found)) for index, found in sorted(engines.items())
        ),
        gateways=profile.gateway.replicas,
    )


def bound(seconds: float) -> float:
    """The bucket's bound that is nearest above; the last one for what is longer."""
    return next((each for each in FIRST_TOKEN_BOUNDS_S if each >= seconds), FIRST_TOKEN_BOUNDS_S[-1])


def duration(seconds: float) -> str:
    """As Prometheus reads it: 90 -> 1m30s."""
    left = max(1, round(seconds * 1000))
    said = ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, length)
        if count:
            said += f"{count}{unit}"
    return said
