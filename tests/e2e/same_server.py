"""One server, three tools: what each report says, in the same words, and whether they say the same. Pure.

Where tools have several definitions, those are read that mean the same: the mean of each request's time to
first token; the mean of (last token - first token) / (tokens - 1); all tokens out by the time in which
requests were under way: at a given rate any tool would say the same of a span with the pauses in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infctl.bench.compare import student

LEVEL = 0.95
RATE_SHARE, TPOT_SHARE = 0.02, 0.03
TTFT_MS, TTFT_SHARE = 3.0, 0.05
"""The larger one."""
LEAST_PAIRS = 8


@dataclass(frozen=True)
class Report:
    completed: int
    failed: int
    tokens_in: int
    tokens_out: int
    per_s: float
    """Tokens out."""
    ttft_ms: float
    tpot_ms: float

    @property
    def totals(self) -> tuple[int, int, int, int]:
        return self.completed, self.failed, self.tokens_in, self.tokens_out


Span = tuple[float, float]
"""When a request began and ended, in seconds of the tool's own clock."""


def of_vllm(told: Mapping[str, Any]) -> Report:
    """The file of `vllm bench serve --save-detailed`, or what `infctl bench run --format vllm` prints."""
    tokens_out = told["total_output_tokens"]
    return Report(
        completed=told["completed"],
        failed=told["failed"],
        tokens_in=told["total_input_tokens"],
        tokens_out=tokens_out,
        per_s=tokens_out / _busy_s(spans_of_vllm(told)),
        ttft_ms=told["mean_ttft_ms"],
        tpot_ms=told["mean_tpot_ms"],
    )


def spans_of_vllm(told: Mapping[str, Any]) -> list[Span]:
    rows = zip(told["start_times"], told["ttfts"], told["itls"], strict=True)
    return [(start, start + ttft + math.fsum(itls)) for start, ttft, itls in rows]


def of_guidellm(told: Mapping[str, Any]) -> Report:
    """Its JSON. Its own rate is by its window, which is longer than the load: here by the requests' times."""
    (run,) = told["benchmarks"]
    requests, metrics = run["requests"]["successful"], run["metrics"]
    tokens_out = sum(one["output_tokens"] for one in requests)
    return Report(
        completed=len(requests),
        failed=metrics["request_totals"]["errored"],
        tokens_in=sum(one["prompt_tokens"] for one in requests),
        tokens_out=tokens_out,
        per_s=tokens_out / _busy_s(spans_of_guidellm(told)),
        ttft_ms=_mean([one["time_to_first_token_ms"] for one in requests]),
        tpot_ms=_mean([one["inter_token_latency_ms"] for one in requests]),
    )


def spans_of_guidellm(told: Mapping[str, Any]) -> list[Span]:
    (run,) = told["benchmarks"]
    return [(one["request_start_time"], one["request_end_time"]) for one in run["requests"]["successful"]]


def _busy_s(spans: Sequence[Span]) -> float:
    """One request at a time."""
    return math.fsum(end - begin for begin, end in spans)


def overlaps(tools: Sequence[Sequence[Span]]) -> int:
    """Requests that began while another tool's was under way. All times of one clock."""
    return sum(
        begin < other_end and other_begin <= begin
        for at, spans in enumerate(tools)
        for begin, _ in spans
        for other in (*tools[:at], *tools[at + 1 :])
        for other_begin, other_end in other
    )


@dataclass(frozen=True)
class Interval:
    """Of a mean, by Student's distribution."""

    mean: float
    low: float
    high: float

    def within(self, bound: float) -> bool:
        return -bound <= self.low and self.high <= bound


def interval(values: Sequence[float]) -> Interval:
    """Of two values or more."""
    count, mean = len(values), _mean(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    wide = student(1 - (1 - LEVEL) / 2, count - 1) * spread / math.sqrt(count)
    return Interval(mean, mean - wide, mean + wide)


@dataclass(frozen=True)
class Judged:
    """One tool beside ours."""

    name: str
    rows: tuple[tuple[str, Interval, float, str], ...]
    """What, the difference (ours less theirs), its bound, and the unit: a share, or ms."""
    tokens_differ: tuple[int, ...]
    """Numbers of pairs."""

    @property
    def good(self) -> bool:
        return not self.tokens_differ and all(found.within(bound) for _, found, bound, _ in self.rows)

    def lines(self) -> list[str]:
        told = [
            f"{self.name}: {what} {found.mean * scale:+.2f} {unit} "
            f"[{found.low * scale:+.2f}, {found.high * scale:+.2f}], "
            f"{'within' if found.within(bound) else 'NOT within'} {bound * scale:.3g} {unit}"
            for what, found, bound, unit in self.rows
            for scale in (100 if unit == "%" else 1,)
        ]
        equal = "equal" if not self.tokens_differ else f"DIFFER in pairs {self.tokens_differ}"
        return [*told, f"{self.name}: requests and tokens {equal}"]

    def short(self) -> str:
        means = ((what, found.mean * (100 if unit == "%" else 1), unit) for what, found, _, unit in self.rows)
        return f"{self.name} {', '.join(f'{what} {mean:+.2f} {unit}' for what, mean, unit in means)}"


def judged(name: str, pairs: Sequence[tuple[Report, Report]]) -> Judged:
    """`pairs`: (ours, theirs), taken in turns."""
    rate = interval([math.log(ours.per_s / theirs.per_s) for ours, theirs in pairs])
    tpot = interval([math.log(ours.tpot_ms / theirs.tpot_ms) for ours, theirs in pairs])
    ttft = interval([ours.ttft_ms - theirs.ttft_ms for ours, theirs in pairs])
    bound = max(TTFT_MS, TTFT_SHARE * _mean([theirs.ttft_ms for _, theirs in pairs]))
    return Judged(
        name,
        (
            ("throughput", rate, RATE_SHARE, "%"),
            ("TPOT", tpot, TPOT_SHARE, "%"),
            ("TTFT", ttft, bound, "ms"),
        ),
        tuple(at for at, (ours, theirs) in enumerate(pairs, 1) if ours.totals != theirs.totals),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
