"""Every metric of the gateway, in one table, and the numbers behind them.

Hot path: one dict look-up for all series of a call, then additions; what can be read of the gateway's state
is read at the scrape. exposition.py writes them down.
Labels are bounded: models are those of the configuration, tenants the first TENANTS addresses; the rest is
`other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

OTHER: Final = "other"
TENANTS: Final = 200
SECONDS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    40.0,
    80.0,
    160.0,
    640.0,
    2560.0,
)
FIRST_SECONDS: Final = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    2.5,
    3.0,
    4.0,
    5.0,
    7.5,
    10.0,
    15.0,
    20.0,
    40.0,
    80.0,
    160.0,
    640.0,
)
"""Close together where promises are made: a promise is judged by the next of these."""
TOKEN_SECONDS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""Those of OpenTelemetry's gen_ai.server.time_per_output_token."""
OVERHEAD_SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
)
LAG_SECONDS: Final[tuple[float, ...]] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, eq=False, slots=True)  # eq=False: found by identity, without hashing all its buckets
class Metric:
    name: str
    """As Prometheus shows it, without the `_total` of counters."""
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    together: Literal["sum", "max", "min", "worst"] = "sum"
    """What several workers' values make."""
    worst_first: tuple[str, ...] = ()
    """Of `worst`: the values of the last label, one of which is at 1."""


REQUESTS = Metric(
    "infctl_requests",
    "counter",
    "Requests answered, by outcome and its reason (an error code, or empty).",
    ("tenant", "model", "backend", "outcome", "reason"),
)
DURATION = Metric(
    "infctl_request_duration_seconds",
    "histogram",
    "From the request's head to the end of its answer.",
    ("model",),
    SECONDS,
)
FIRST_TOKEN = Metric(
    "infctl_time_to_first_token_seconds",
    "histogram",
    "From the request's head to the first event of a stream, as the gateway saw it.",
    ("model",),
    FIRST_SECONDS,
)
TOKEN_TIME = Metric(
    "infctl_time_per_output_token_seconds",
    "histogram",
    "Of a stream's tokens behind the first one: the time from its first event to its end, divided by them.",
    ("model",),
    TOKEN_SECONDS,
)
OVERHEAD = Metric(
    "infctl_gateway_overhead_seconds",
    "histogram",
    "What the gateway took itself: from the whole request to its first sending to a backend, without the wait"
    " for a place.",
    ("model",),
    OVERHEAD_SECONDS,
)
STREAMS = Metric(
    "infctl_streams",
    "counter",
    "Streams by how they ended: done, error (in an event), truncated, idle (timed out), client_gone, cut.",
    ("model", "outcome"),
)
TOKENS_IN = Metric(
    "infctl_prompt_tokens", "counter", "Tokens of prompts, as the backends counted.", ("tenant", "model")
)
TOKENS_OUT = Metric(
    "infctl_generation_tokens", "counter", "Tokens of answers, as the backends counted.", ("tenant", "model")
)
TOKENS_CACHED = Metric(
    "infctl_cached_prompt_tokens",
    "counter",
    "Tokens of prompts that the backends had computed before (vLLM: --enable-prompt-tokens-details).",
    ("tenant", "model"),
)
BYTES_OUT = Metric("infctl_response_bytes", "counter", "Bytes of answers' bodies.", ("model",))
IN_FLIGHT = Metric(
    "infctl_requests_in_flight", "gauge", "Requests at a backend at this moment.", ("model", "backend")
)
BACKEND_UP = Metric(
    "infctl_backend_up",
    "gauge",
    "1 while a backend gets calls: it is ready, not drained, and its breaker is not open; of several workers,"
    " the worst.",
    ("model", "backend"),
    together="min",
)
ATTEMPTS = Metric(
    "infctl_backend_attempts",
    "counter",
    "Calls given to a backend, retries among them.",
    ("model", "backend"),
)
FAILURES = Metric(
    "infctl_backend_failures",
    "counter",
    "Calls that a backend failed: no connection, a broken answer, a 5xx.",
    ("model", "backend"),
)
BACKEND_STATE = Metric(
    "infctl_backend_state",
    "gauge",
    "1 for the state a backend is in, 0 for the others; of several workers, the worst.",
    ("model", "backend", "state"),
    together="worst",
    worst_first=("down", "loading", "draining", "drained", "ready"),
)
BREAKER_STATE = Metric(
    "infctl_backend_breaker_state",
    "gauge",
    "1 for the state a backend's breaker is in, 0 for the others; of several workers, the worst.",
    ("model", "backend", "state"),
    together="worst",
    worst_first=("open", "half_open", "closed"),
)
BREAKER_CHANGES = Metric(
    "infctl_backend_breaker_changes",
    "counter",
    "How often a backend's breaker came into a state.",
    ("model", "backend", "state"),
)
EJECTIONS = Metric(
    "infctl_backend_ejections",
    "counter",
    "Backends that did worse than their like: passed over (ejected), or kept as too few would be left.",
    ("model", "backend", "reason", "outcome"),
)
RETRIES = Metric(
    "infctl_retries",
    "counter",
    "Requests sent again, by the backend that failed and what it did.",
    ("model", "backend", "reason"),
)
RETRIES_REFUSED = Metric(
    "infctl_retries_refused",
    "counter",
    "Requests that might have been sent again and were not: attempts, deadline or budget used up.",
    ("model", "reason"),
)
HEDGES = Metric(
    "infctl_hedges",
    "counter",
    "Second attempts beside one that is late: answered first (won), later (lost), not at all (failed), not"
    " waited for (left); or not sent: no_place, budget.",
    ("model", "outcome"),
)
QUEUE_WAITING = Metric(
    "infctl_queue_waiting", "gauge", "Calls that wait for a place at a backend at this moment.", ("model",)
)
QUEUE_WAIT = Metric(
    "infctl_queue_wait_seconds",
    "histogram",
    "How long calls waited for a place, of those that had to.",
    ("model",),
    SECONDS,
)
QUEUE_REFUSED = Metric(
    "infctl_queue_refused",
    "counter",
    "Calls that got no place: too many waited (full), or it took too long (timeout).",
    ("model", "reason"),
)
CACHE = Metric(
    "infctl_cache_requests",
    "counter",
    "Calls whose answer may be kept: it was there (hit), was fetched (miss), was being fetched (joined).",
    ("model", "outcome"),
)
CACHE_EVICTED = Metric("infctl_cache_evicted", "counter", "Answers dropped for want of room.")
CACHE_ENTRIES = Metric("infctl_cache_entries", "gauge", "Answers kept.")
CACHE_BYTES = Metric("infctl_cache_bytes", "gauge", "Bytes of the answers kept.")
PROBES = Metric(
    "infctl_backend_probes", "counter", "Health probes, by what they found.", ("backend", "outcome")
)
CONNECTIONS = Metric("infctl_client_connections", "gauge", "Open connections of clients.")
LAG = Metric(
    "infctl_event_loop_lag_seconds",
    "histogram",
    "How late the event loop ran a timer.",
    (),
    LAG_SECONDS,
)
RELOADS = Metric(
    "infctl_config_reloads", "counter", "Reloads of gateway.yaml and .env: applied or refused.", ("outcome",)
)
LOST_LINES = Metric("infctl_log_lines_lost", "counter", "Log lines dropped because stdout was not read.")
STORE_UP = Metric(
    "infctl_store_up",
    "gauge",
    "1 while the store of counts answers, 0 while it does not; of several workers, the worst.",
    together="min",
)
STORE_WAITING = Metric("infctl_store_waiting", "gauge", "Calls that wait for a word of the store of counts.")
LEASED = Metric(
    "infctl_leased",
    "gauge",
    "What workers hold of the store's counts and have not spent, by limit.",
    ("limit",),
)
RESERVED = Metric(
    "infctl_reserved", "gauge", "What calls under way have reserved of their limits, by limit.", ("limit",)
)
LIMIT = Metric(
    "infctl_limit",
    "gauge",
    "What a configured tenant may use: in flight, or in the day or month of now.",
    ("tenant", "limit"),
    together="max",
)
LIMIT_LEFT = Metric(
    "infctl_limit_left",
    "gauge",
    "What is left of it, as far as the worker knows that knows of the least.",
    ("tenant", "limit"),
    together="min",
)
TOKENS_BEYOND = Metric(
    "infctl_tokens_beyond_reserved",
    "counter",
    "Tokens used beyond the bound that was reserved for the call: a bound was none.",
)
PROMPTS_COUNTED = Metric(
    "infctl_prompts_counted",
    "counter",
    "Calls whose prompt the engine was asked to count, as their bound alone would have refused them.",
    ("model",),
)
WORKERS = Metric("infctl_workers", "gauge", "Processes of this gateway that serve.")
WORKER_RESTARTS = Metric(
    "infctl_worker_restarts", "counter", "Workers that ended unasked and were started again.", ("worker",)
)
REDACTIONS = Metric(
    "infctl_redactions",
    "counter",
    "What was hidden in log lines and the audit trail, by kind; failed: texts hidden whole.",
    ("kind",),
)
AUDIT_RECORDS = Metric("infctl_audit_records", "counter", "Records of the audit trail that are on the disk.")
AUDIT_LOST = Metric(
    "infctl_audit_records_lost", "counter", "Records that could not be written and had no room to wait."
)
AUDIT_WAITING = Metric("infctl_audit_queue", "gauge", "Records that wait for the disk.")
AUDIT_LAG = Metric(
    "infctl_audit_lag_seconds",
    "gauge",
    "For how long the oldest record has waited for the disk; of several workers, the longest.",
    together="max",
)
AUDIT_FAILING = Metric(
    "infctl_audit_failing", "gauge", "1 while the audit trail cannot be written.", together="max"
)
TRACE_SPANS = Metric(
    "infctl_trace_spans",
    "counter",
    "Spans of traced calls: taken by the collector (exported), or not, or without room to wait (lost).",
    ("outcome",),
)
DISK = Metric(
    "infctl_disk_bytes",
    "gauge",
    "Size of the disk that holds the gateway's store or audit trail.",
    ("kind",),
    together="max",
)
DISK_FREE = Metric(
    "infctl_disk_free_bytes", "gauge", "What is free of it for the gateway.", ("kind",), together="min"
)
CERTIFICATE = Metric(
    "infctl_certificate_end_time_seconds",
    "gauge",
    "When the TLS certificate that clients see ends, in seconds since 1970; absent until it was seen.",
    together="min",
)
STARTED = Metric(
    "infctl_start_time_seconds", "gauge", "When the gateway started, in seconds since 1970.", together="min"
)
BUILD = Metric(
    "infctl_build_info",
    "gauge",
    "Always 1; the version is a label, and whether the gateway is compiled (yes, no).",
    ("version", "compiled"),
    together="max",
)
CONFIG = Metric(
    "infctl_config_info",
    "gauge",
    "Always 1; how the gateway is configured: who balances, where it counts, audit and cache on or off.",
    ("balancing", "store", "audit", "cache"),
    together="max",
)
CONFIG_LOADED = Metric(
    "infctl_config_loaded_time_seconds",
    "gauge",
    "When the configuration in force was read, in seconds since 1970; of several workers, the oldest.",
    together="min",
)

METRICS: Final = (
    REQUESTS,
    DURATION,
    FIRST_TOKEN,
    TOKEN_TIME,
    OVERHEAD,
    STREAMS,
    TOKENS_IN,
    TOKENS_OUT,
    TOKENS_CACHED,
    BYTES_OUT,
    IN_FLIGHT,
    BACKEND_UP,
    BACKEND_STATE,
    ATTEMPTS,
    FAILURES,
    BREAKER_STATE,
    BREAKER_CHANGES,
    EJECTIONS,
    RETRIES,
    RETRIES_REFUSED,
    HEDGES,
    QUEUE_WAITING,
    QUEUE_WAIT,
    QUEUE_REFUSED,
    CACHE,
    CACHE_EVICTED,
    CACHE_ENTRIES,
    CACHE_BYTES,
    PROBES,
    CONNECTIONS,
    LAG,
    RELOADS,
    LOST_LINES,
    REDACTIONS,
    AUDIT_RECORDS,
    AUDIT_LOST,
    AUDIT_WAITING,
    AUDIT_LAG,
    AUDIT_FAILING,
    STORE_UP,
    STORE_WAITING,
    LEASED,
    RESERVED,
    LIMIT,
    LIMIT_LEFT,
    TOKENS_BEYOND,
    PROMPTS_COUNTED,
    WORKERS,
    WORKER_RESTARTS,
    TRACE_SPANS,
    DISK,
    DISK_FREE,
    CERTIFICATE,
    STARTED,
    BUILD,
    CONFIG,
    CONFIG_LOADED,
)

Labels = tuple[str, ...]
Sample = tuple[Metric, Labels, float]
Snapshot = dict[Metric, dict[Labels, tuple[float, ...]]]
"""All numbers of a moment. A counter or gauge is one number, a histogram its counts and then its sum."""


class Counter:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0.0


class Histogram:
    """Counts per bucket; the last one is for all that is larger."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


_STREAM_ENDS: Final = {
    "ok": "done",
    "upstream_error": "error",
    "upstream_truncated": "truncated",
    "upstream_timeout": "idle",
    "client_gone": "client_gone",
    "cut": "cut",
}
"""A request's outcome -> its stream's."""


class CallSeries:
    """All series that a call at a backend adds to."""

    __slots__ = (
        "bytes_out",
        "duration",
        "first_token",
        "overhead",
        "requests",
        "streams",
        "token_time",
        "tokens_in",
        "tokens_out",
    )

    def __init__(self, numbers: Metrics, requests: Labels) -> None:
        tenant, model, _, outcome, _ = requests
        self.requests = numbers.counter(REQUESTS, requests)
        self.duration = numbers.histogram(DURATION, (model,))
        self.first_token = numbers.histogram(FIRST_TOKEN, (model,))
        self.token_time = numbers.histogram(TOKEN_TIME, (model,))
        self.overhead = numbers.histogram(OVERHEAD, (model,))
        self.bytes_out = numbers.counter(BYTES_OUT, (model,))
        self.tokens_in = numbers.counter(TOKENS_IN, (tenant, model))
        self.tokens_out = numbers.counter(TOKENS_OUT, (tenant, model))
        end = _STREAM_ENDS.get(outcome, OTHER)
        self.streams = numbers.counter(STREAMS, (model, end))


class Metrics:
    """The numbers of this process."""

    def __init__(self) -> None:
        self._counters: dict[Metric, dict[Labels, Counter]] = {m: {} for m in METRICS if m.kind == "counter"}
        self._histograms: dict[Metric, dict[Labels, Histogram]] = {
            m: {} for m in METRICS if m.kind == "histogram"
        }
        for metric, series in self._counters.items():
            if not metric.labels:  # from 0 on: Prometheus sees no increase in a series that begins with 1
                series[()] = Counter()
        self._calls: dict[Labels, CallSeries] = {}
        self._tenants: set[str] = set()
        self._now: list[Callable[[], Iterable[Sample]]] = []

    def count(self, metric: Metric, labels: Labels = (), by: float = 1) -> None:
        self.counter(metric, labels).value += by

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        self.histogram(metric, labels).observe(value)

    def counter(self, metric: Metric, labels: Labels) -> Counter:
        found = self._counters[metric].get(labels)
        if found is None:
            found = self._counters[metric][labels] = Counter()
        return found

    def histogram(self, metric: Metric, labels: Labels) -> Histogram:
        found = self._histograms[metric].get(labels)
        if found is None:
            found = self._histograms[metric][labels] = Histogram(metric.buckets)
        return found

    def of_call(self, requests: Labels) -> CallSeries:
        """`requests`: the labels of REQUESTS, as bounded as these are."""
        found = self._calls.get(requests)
        if found is None:
            found = self._calls[requests] = CallSeries(self, requests)
        return found

    def tenant(self, tenant: str) -> str:
        """The tenant's label."""
        if tenant in self._tenants:
            return tenant
        if len(self._tenants) < TENANTS:
            self._tenants.add(tenant)
            return tenant
        return OTHER

    def ask(self, source: Callable[[], Iterable[Sample]]) -> None:
        """Gauges that are read at the scrape."""
        self._now.append(source)

    def snapshot(self) -> Snapshot:
        found: Snapshot = {metric: {} for metric in METRICS}
        for metric, counters in self._counters.items():
            found[metric] = {labels: (counter.value,) for labels, counter in counters.items()}
        for metric, histograms in self._histograms.items():
            found[metric] = {labels: (*each.counts, each.sum) for labels, each in histograms.items()}
        for source in self._now:
            for metric, labels, value in source():
                found[metric][labels] = (value,)
        return found

    def served(self) -> float:
        """Requests in all: has anything happened?"""
        return sum(counter.value for counter in self._counters[REQUESTS].values())
