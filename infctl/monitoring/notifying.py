"""Alertmanager: who is told what, how often, and what is not told while something worse is. Pure.

A sample that works as it is: pages at once and again each hour, tickets once and again each day, both to the
webhook where the profile has one.
"""

from __future__ import annotations

from typing import Any, Final

WORSE: Final[tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = (
    ("GatewayDown", ("BackendDown", "NoHealthyBackend", "EngineDown"), ()),
    ("NoHealthyBackend", ("BackendDown", "RetryBudgetUsedUp", "QueueTimeouts"), ("model",)),
    ("EngineDown", ("EngineMetricsMissing", "BackendDown"), ("model", "backend")),
    ("EngineStalled", ("EngineSaturated", "BreakerFlapping"), ("model", "backend")),
    ("ErrorBudgetBurnsFast", ("ErrorBudgetBurnsSlowly",), ("model",)),
    ("FirstTokenBudgetBurnsFast", ("FirstTokenBudgetBurnsSlowly",), ("model",)),
    ("QuotaUsedUp", ("QuotaNearlyUsed",), ("tenant",)),
    ("GpuXidCritical", ("GpuXidNew",), ("Hostname", "gpu")),
)
"""While the first is there, the others are not told where these labels are equal."""


def config(webhook: dict[str, str] | None) -> dict[str, Any]:
    """`webhook`: {"url": ...} or {"url_file": ...}; None: alerts are shown, and sent to nobody."""
    told = {} if webhook is None else {"webhook_configs": [{**webhook, "send_resolved": True}]}
    return {
        "route": {
            "receiver": "tickets",
            "group_by": ["alertname", "model", "backend", "tenant"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "1d",
            "routes": [
                {"matchers": ['severity="none"'], "receiver": "nobody"},
                {
                    "matchers": ['severity="page"'],
                    "receiver": "pages",
                    "group_wait": "10s",
                    "repeat_interval": "1h",
                },
            ],
        },
        "inhibit_rules": [
            {
                "source_matchers": [f'alertname="{source}"'],
                "target_matchers": [f'alertname=~"{"|".join(targets)}"'],
                **({"equal": list(equal)} if equal else {}),
            }
            for source, targets, equal in WORSE
        ],
        "receivers": [{"name": "pages", **told}, {"name": "tickets", **told}, {"name": "nobody"}],
    }
