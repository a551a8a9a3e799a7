"""A moment's pages, brought down to the sums that are shown: five minutes of them take little memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import sub
from typing import Final

from infctl.monitoring.exposed import Buckets, Page, Sample, buckets, quantile
from infctl.monitoring.recordings import FAULTS, FAULTS_REFUSED

GATEWAY: Final = "gateway"
"""Whose page it is; engines' are under their services' names."""
BEGINS: Final = (
    "infctl_requests_total",
    "infctl_requests_in_flight",
    "infctl_queue_waiting",
    "infctl_prompt_tokens_total",
    "infctl_generation_tokens_total",
    "infctl_time_to_first_token_seconds_bucket",
    "infctl_start_time_seconds",  # there from the beginning: by it a page without a call is known
    "vllm:num_requests",
    "vllm:kv_cache_usage_perc",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:time_to_first_token_seconds_bucket",
)
"""What is read; the rest of a page need not travel."""
_FAULTS: Final = frozenset(FAULTS.split("|"))
_FAULTS_REFUSED: Final = frozenset(FAULTS_REFUSED.split("|"))


@dataclass(frozen=True, slots=True)
class Calls:
    """Of a backend, a model or a tenant, since the gateway began."""

    requests: float = 0.0
    faults: float = 0.0
    """Answered with a fault of the platform."""
    refused: float = 0.0
    """By a limit, a quota, a key ..."""
    tokens_in: float = 0.0
    tokens_out: float = 0.0

    @property
    def parts(self) -> tuple[float, ...]:
        return self.requests, self.faults, self.refused, self.tokens_in, self.tokens_out

    def since(self, before: Calls) -> Calls | None:
        """None: somebody began anew in between."""
        moved = tuple(map(sub, self.parts, before.parts))
        return None if min(moved) < 0 else Calls(*moved)


@dataclass(frozen=True, slots=True)
class Engine:
    """A vLLM's own figures; of several behind one port the sum, of the KV cache the fullest."""

    running: float | None = None
    waiting: float | None = None
    kv_use: float | None = None
    """0 to 1."""
    tokens_out: float | None = None
    tokens_in: float | None = None
    first: Buckets = field(default_factory=dict)
    """Times to the first token."""


@dataclass(frozen=True, slots=True)
class Counts:
    at: float
    """Seconds of any clock that only goes on."""
    backends: Mapping[str, Calls] = field(default_factory=dict)
    models: Mapping[str, Calls] = field(default_factory=dict)
    tenants: Mapping[str, Calls] = field(default_factory=dict)
    refusals: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(tenant, reason) -> how many."""
    first: Mapping[str, Buckets] = field(default_factory=dict)
    """Model -> times to the first token, as clients of streams saw them."""
    waiting: Mapping[str, float] = field(default_factory=dict)
    """Model -> calls that wait for a place."""
    in_flight: Mapping[str, float] = field(default_factory=dict)
    """By backend."""
    engines: Mapping[str, Engine] = field(default_factory=dict)
    """By service."""
    down: Mapping[str, str] = field(default_factory=dict)
    """Whose page is not there -> why."""

    @property
    def told(self) -> bool:
        """The gateway's page is among them."""
        return GATEWAY not in self.down


Pages = Mapping[str, Page | str]
"""By GATEWAY and services; a string: why there is none."""


def count(pages: Pages, at: float) -> Counts:
    down = {name: page for name, page in pages.items() if isinstance(page, str)}
    engines = {n: engine(page) for n, page in pages.items() if isinstance(page, Page) and n != GATEWAY}
    page = pages.get(GATEWAY, "it was not asked")
    if isinstance(page, str):
        return Counts(at, engines=engines, down={**down, GATEWAY: page})
    backends, models, tenants = _Sums("backend"), _Sums("model"), _Sums("tenant")
    refusals: dict[tuple[str, str], float] = {}
    for one in page.of("infctl_requests_total"):
        labels = one.labels
        refused = labels.get("outcome") == "refused"
        for sums in (backends, models, tenants):
            sums.add(labels, 0, one.value)
            if _is_fault(labels):
                sums.add(labels, 1, one.value)
            if refused:
                sums.add(labels, 2, one.value)
        if refused:
            who = labels.get("tenant", ""), labels.get("reason", "")
            refusals[who] = refusals.get(who, 0.0) + one.value
    for place, name in ((3, "infctl_prompt_tokens_total"), (4, "infctl_generation_tokens_total")):
        for one in page.of(name):
            models.add(one.labels, place, one.value)
            tenants.add(one.labels, place, one.value)
    return Counts(
        at,
        backends=backends.calls(),
        models=models.calls(),
        tenants=tenants.calls(),
        refusals=refusals,
        first=_first(page.of("infctl_time_to_first_token_seconds_bucket")),
        waiting=page.by("model", "infctl_queue_waiting"),
        in_flight=page.by("backend", "infctl_requests_in_flight"),
        engines=engines,
        down=down,
    )


def engine(page: Page) -> Engine:
    full = [one.value for one in page.of("vllm:kv_cache_usage_perc")]
    return Engine(
        running=page.value("vllm:num_requests_running"),
        waiting=page.value("vllm:num_requests_waiting"),
        kv_use=max(full, default=None),
        tokens_out=page.value("vllm:generation_tokens_total"),
        tokens_in=page.value("vllm:prompt_tokens_total"),
        first=buckets(page.of("vllm:time_to_first_token_seconds_bucket")),
    )


def p95(before: Buckets, now: Buckets) -> float | None:
    """Of what came between the two; None: nothing did, or it began anew."""
    moved = {bound: total - before.get(bound, 0.0) for bound, total in now.items()}
    return None if any(value < 0 for value in moved.values()) else quantile(0.95, moved)


class _Sums:
    """By the value of one label."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._found: dict[str, list[float]] = {}

    def add(self, labels: Mapping[str, str], place: int, value: float) -> None:
        key = labels.get(self._label, "")
        if key:  # a refused call has no backend
            self._found.setdefault(key, [0.0] * 5)[place] += value

    def calls(self) -> dict[str, Calls]:
        return {key: Calls(*parts) for key, parts in self._found.items()}


def _is_fault(labels: Mapping[str, str]) -> bool:
    outcome, reason = labels.get("outcome", ""), labels.get("reason", "")
    if outcome == "refused":
        return reason in _FAULTS_REFUSED
    return outcome in _FAULTS and reason != "deadline"


def _first(samples: tuple[Sample, ...]) -> dict[str, Buckets]:
    found: dict[str, list[Sample]] = {}
    for one in samples:
        found.setdefault(one.labels.get("model", ""), []).append(one)
    return {model: buckets(rows) for model, rows in found.items()}
