"""For each alert what makes it fire, what keeps it silent, and when it is over: promtool runs them.

A bad hour, and then a good time. promtool's words: `5x59` is 60 readings of 5, `0+5x59` begins at 0 and gains
5 with each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BAD = 60
"""Readings, a step apart."""


@dataclass(frozen=True)
class Case:
    counters: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Series -> what it gains each step, in the bad time and after it."""
    gauges: dict[str, tuple[float | str | None, float | None]] = field(default_factory=dict)
    """Series -> its value, in the bad time (or all its readings, in words) and after it. None: absent."""
    labels: dict[str, str] = field(default_factory=dict)
    """Of the alert that fires, without its severity."""
    fires_at: int = BAD - 1
    good: int = 90
    """After so many good steps it is over for certain."""
    step_min: int = 1
    absence: bool = False
    """It speaks of what is not there: without any data it fires as well."""

    def series(self, *, bad: bool) -> list[dict[str, str]]:
        """With its bad time or without."""
        found = {name: self._counted(name, bad=bad) for name in self.counters}
        found |= {name: self._gauged(name, bad=bad) for name in self.gauges}
        return [{"series": name, "values": values} for name, values in found.items()]

    def _counted(self, name: str, *, bad: bool) -> str:
        first, second = self.counters[name]
        if not bad:
            return f"0+{second:g}x{self.good}"
        return f"0+{first:g}x{BAD - 1} {first * (BAD - 1) + second:g}+{second:g}x{self.good}"

    def _gauged(self, name: str, *, bad: bool) -> str:
        first, second = self.gauges[name]
        after = _same(second, self.good)
        if not bad:
            return after
        return f"{first if isinstance(first, str) else _same(first, BAD - 1)} {after}"


def _same(value: float | None, more: int) -> str:
    return f"_x{more + 1}" if value is None else f"{value:g}x{more}"


Series = dict[str, Any]


def both(counters: Series, gauges: Series, labels: dict[str, str], **more: Any) -> Case:
    return Case(counters, gauges, labels, **more)


UP = 'up{job="%s",instance="i",model="chat",backend="vllm-chat0"}'
CALLS = 'infctl_requests_total{instance="g",tenant="t",model="chat",backend="b",outcome="%s",reason="%s"}'
FIRST = 'infctl_time_to_first_token_seconds_%s{instance="g",model="chat"%s}'
ENGINE = 'instance="e",job="vllm",model="chat",backend="vllm-chat0",model_name="chat",engine="0"'
GPU = 'Hostname="h",gpu="0",UUID="GPU-1",job="dcgm",instance="d"'
MODEL = {"model": "chat"}
BACKEND = {"model": "chat", "backend": "vllm-chat0"}
AT_G = {"instance": "g"}
AT_GPU = {"Hostname": "h", "gpu": "0"}

OK, FAULT = CALLS % ("ok", ""), CALLS % ("upstream_error", "upstream_head")
DONE = 'infctl_streams_total{instance="g",model="chat",outcome="done"}'
BROKEN = 'infctl_streams_total{instance="g",model="chat",outcome="truncated"}'
LATE = {
    FIRST % ("bucket", ',le="2.5"'): (50.0, 100.0),
    FIRST % ("bucket", ',le="+Inf"'): (100.0, 100.0),
    FIRST % ("count", ""): (100.0, 100.0),
}
LAG = 'infctl_event_loop_lag_seconds_bucket{instance="g",le="%s"}'

OPENED = 'infctl_backend_breaker_changes_total{instance="g",model="chat",backend="vllm-chat0",state="open"}'

CASES: dict[str, Case] = {
    "ErrorBudgetBurnsFast": both({OK: (98, 100), FAULT: (2, 0)}, {}, MODEL, good=8 * 30, step_min=2),
    "ErrorBudgetBurnsSlowly": both({OK: (99, 100), FAULT: (1, 0)}, {}, MODEL, good=4 * 24 * 2, step_min=30),
    "FirstTokenBudgetBurnsFast": both(
        {name: (bad * 9 if "2.5" not in name else 100, good) for name, (bad, good) in LATE.items()}
        | {FIRST % ("bucket", ',le="2.5"'): (100, 100)}
        | {FIRST % ("count", ""): (900, 100), FIRST % ("bucket", ',le="+Inf"'): (900, 100)},
        {},
        MODEL,
        good=8 * 30,
        step_min=2,
    ),
    "FirstTokenBudgetBurnsSlowly": both(LATE, {}, MODEL, good=4 * 24 * 2, step_min=30),
    "GatewayDown": both({}, {'up{job="gateway",instance="g"}': (0, 1)}, AT_G | {"job": "gateway"}),
    "GatewayMissing": both(
        {},
        {'up{job="other",instance="x"}': (1, None), 'up{job="gateway",instance="g"}': (None, 1)},
        {"job": "gateway"},
        absence=True,
    ),
    "NoHealthyBackend": both(
        {},
        {
            'infctl_backend_up{instance="g",model="chat",backend="a"}': (0, 0),
            'infctl_backend_up{instance="g",model="chat",backend="b"}': (0, 1),
        },
        MODEL,
    ),
    "BackendDown": both(
        {},
        {'infctl_backend_up{instance="g",model="chat",backend="vllm-chat0"}': (0, 1)},
        BACKEND,
    ),
    "BreakerFlapping": both({OPENED: (1, 0)}, {}, BACKEND),
    "QueueTimeouts": both(
        {
            OK: (90, 100),
            CALLS % ("refused", "queue_timeout"): (10, 0),
            'infctl_queue_refused_total{instance="g",model="chat",reason="timeout"}': (10, 0),
        },
        {},
        MODEL,
    ),
    "StreamsBreak": both({DONE: (90, 100), BROKEN: (10, 0)}, {}, MODEL),
    "RetryBudgetUsedUp": both(
        {'infctl_retries_refused_total{instance="g",model="chat",reason="budget"}': (1, 0)}, {}, MODEL
    ),
    "StoreDown": both({}, {'infctl_store_up{instance="g"}': (0, 1)}, AT_G),
    "AuditFailing": both({}, {'infctl_audit_failing{instance="g"}': (1, 0)}, AT_G),
    "AuditLost": both({'infctl_audit_records_lost_total{instance="g"}': (1, 0)}, {}, AT_G),
    "RedactionFails": both({'infctl_redactions_total{instance="g",kind="failed"}': (1, 0)}, {}, AT_G),
    "LogLinesLost": both({'infctl_log_lines_lost_total{instance="g"}': (1, 0)}, {}, AT_G),
    "EventLoopLags": both(
        {LAG % "0.1": (50, 240), LAG % "0.25": (240, 240), LAG % "+Inf": (240, 240)}, {}, AT_G
    ),
    "GatewayRestarts": both(
        {}, {'infctl_start_time_seconds{instance="g"}': ("1x19 2x19 3x19", 3)}, AT_G, fires_at=42
    ),
    "ReloadRefused": both({'infctl_config_reloads_total{instance="g",outcome="refused"}': (1, 0)}, {}, AT_G),
    "DiskNearlyFull": both(
        {},
        {
            'infctl_disk_free_bytes{instance="g",kind="audit"}': (5, 50),
            'infctl_disk_bytes{instance="g",kind="audit"}': (100, 100),
        },
        AT_G | {"kind": "audit"},
    ),
    # For promtool it is 1970.
    "CertificateEnds": both(
        {}, {'infctl_certificate_end_time_seconds{instance="g"}': (86_400, 90 * 86_400)}, AT_G, fires_at=59
    ),
    "QuotaNearlyUsed": both(
        {},
        {
            'infctl_limit{instance="g",tenant="t",limit="tokens_per_day"}': (100, 100),
            'infctl_limit_left{instance="g",tenant="t",limit="tokens_per_day"}': (5, 50),
        },
        {"tenant": "t", "limit": "tokens_per_day"},
    ),
    "QuotaUsedUp": both(
        {CALLS % ("refused", "tokens_per_day"): (1, 0)}, {}, {"tenant": "t", "reason": "tokens_per_day"}
    ),
    "TenantHeldBack": both(
        {OK: (10, 100), CALLS % ("refused", "requests_per_second"): (90, 0)}, {}, {"tenant": "t"}
    ),
    "ReservationTooSmall": both({'infctl_tokens_beyond_reserved_total{instance="g"}': (1, 0)}, {}, AT_G),
    "EngineDown": both({}, {UP % "vllm": (0, 1)}, BACKEND | {"job": "vllm", "instance": "i"}),
    "EngineMissing": both(
        {},
        {'up{job="other",instance="x"}': (1, None), UP % "vllm": (None, 1)},
        {"job": "vllm"},
        absence=True,
    ),
    "EngineMetricsMissing": both(
        {},
        {UP % "vllm": (1, 1), 'vllm:num_requests_running{instance="i"}': (None, 0)},
        BACKEND | {"job": "vllm", "instance": "i"},
    ),
    "EngineStalled": both(
        {
            f"vllm:generation_tokens_total{{{ENGINE}}}": (0, 500),
            f"vllm:prompt_tokens_total{{{ENGINE}}}": (0, 900),
        },
        {f"vllm:num_requests_running{{{ENGINE}}}": (4, 4)},
        BACKEND,
    ),
    "EngineErrors": both(
        {
            f'vllm:request_success_total{{{ENGINE},finished_reason="stop"}}': (95, 100),
            f'vllm:request_success_total{{{ENGINE},finished_reason="error"}}': (5, 0),
        },
        {},
        BACKEND,
    ),
    "EngineSaturated": both(
        {
            f'vllm:request_queue_time_seconds_bucket{{{ENGINE},le="5.0"}}': (10, 100),
            f'vllm:request_queue_time_seconds_bucket{{{ENGINE},le="10.0"}}': (100, 100),
            f'vllm:request_queue_time_seconds_bucket{{{ENGINE},le="+Inf"}}': (100, 100),
        },
        {f'vllm:num_requests_waiting_by_reason{{{ENGINE},reason="capacity"}}': (5, 0)},
        BACKEND,
    ),
    "EngineKvPressure": both(
        {f"vllm:num_preemptions_total{{{ENGINE}}}": (10, 0)},
        {f"vllm:kv_cache_usage_perc{{{ENGINE}}}": (0.99, 0.5)},
        BACKEND,
    ),
    "EngineRefuses": both(
        {f'vllm:admission_rejections_total{{{ENGINE},reason="max_num_queued_reqs"}}': (5, 0)},
        {},
        BACKEND | {"reason": "max_num_queued_reqs"},
    ),
    "EngineRestarts": both(
        {}, {f"process_start_time_seconds{{{ENGINE}}}": ("1x19 2x19 3x19", 3)}, BACKEND, fires_at=42
    ),
    "GpuMetricsMissing": both({}, {'up{job="dcgm",instance="d"}': (0, 1)}, {"job": "dcgm", "instance": "d"}),
    "GpuXidCritical": both(
        {}, {f'DCGM_EXP_XID_ERRORS_COUNT{{{GPU},xid="79"}}': (1, 0)}, AT_GPU | {"xid": "79"}
    ),
    "GpuXidNew": both(
        {},
        {f'DCGM_FI_DEV_XID_ERRORS{{{GPU},err_code="31"}}': ("_x55 31x4", 31)},
        AT_GPU | {"err_code": "31"},
    ),
    "GpuRowRemapFailed": both({}, {f"DCGM_FI_DEV_ROW_REMAP_FAILURE{{{GPU}}}": (1, 0)}, AT_GPU),
    "GpuMemoryWears": both(
        {f"DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{{{GPU}}}": (1, 0)}, {}, AT_GPU, good=26 * 60
    ),
    "GpuHot": both({}, {f"DCGM_FI_DEV_GPU_TEMP{{{GPU}}}": (92, 60)}, AT_GPU),
    "GpuThrottled": both({}, {f"DCGM_FI_DEV_CLOCKS_EVENT_REASONS{{{GPU}}}": (32 + 4, 4)}, AT_GPU),
    "GpuMemoryTight": both({}, {f"DCGM_FI_DEV_FB_FREE{{{GPU}}}": (100, 4000)}, AT_GPU),
    "GpuMemoryBeyondPlan": both({}, {f"DCGM_FI_DEV_FB_USED{{{GPU}}}": (22_000, 19_000)}, {"gpu": "0"}),
    "RulesFail": both(
        {'prometheus_rule_evaluation_failures_total{instance="p",rule_group="r"}': (1, 0)},
        {},
        {"instance": "p"},
    ),
    "AlertsNotSent": both(
        {'prometheus_notifications_errors_total{instance="p",alertmanager="a"}': (1, 0)},
        {},
        {"instance": "p"},
    ),
}
"""All but Watchdog, which is never silent."""
