"""A log as `vllm bench serve` 0.32 would have told it: its keys, its definitions, its arithmetic. Pure.

Where its definitions differ from ours (docs/bench.md has the table) this file follows vLLM's: TTFT and
latency begin when the client turned to the request, so a new connection is in them; the first event
with `choices` is the first token, even one without text; ITL is between all such events. A request is a
success by its outcome here, not because one event came.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from infctl.bench import numbers
from infctl.bench.figures import origin_us
from infctl.bench.record import Record
from infctl.bench.results import Config

_SLO = {"ttft": "ttft", "tpot": "tpot", "e2e": "e2el"}
"""Ours -> vLLM's name."""


@dataclass(frozen=True, slots=True)
class Output:
    """One request in vLLM's words; seconds."""

    ok: bool
    start: float
    ttft: float
    itl: list[float]
    latency: float
    prompt_len: int
    output_len: int
    queue: float
    error: str

    @property
    def tpot(self) -> float:
        """0 where there is none, as vLLM has it for goodput."""
        return (self.latency - self.ttft) / (self.output_len - 1) if self.output_len > 1 else 0.0


def output(record: Record) -> Output:
    """Times as vLLM's client adds them up: gaps between clock readings, in seconds."""
    start = record.began_us / 1e6
    at = [stamp / 1e6 for stamp in record.piece_us]
    return Output(
        ok=record.ok,
        start=start,
        ttft=at[0] - start if at else 0.0,
        itl=[after - before for before, after in pairwise(at)],
        latency=(at[-1] if at else record.end_us / 1e6) - start,
        prompt_len=record.tokens_in if record.tokens_in is not None else record.asked_in,
        output_len=(record.tokens_out or 1) if record.ok else 0,
        queue=start - (record.due_us / 1e6 if record.due_us is not None else start),
        error="" if record.ok else f"{record.outcome}: {record.detail}",
    )


def result(
    records: Sequence[Record],
    *,
    duration_s: float,
    percentiles: Sequence[float] = (50, 90, 95, 99),
    goodput_ms: Mapping[str, float] | None = None,
    detailed: bool = False,
) -> dict[str, Any]:
    """The figures of vLLM's result file, by its keys. `records`: those that are to count, in order."""
    outputs = [output(record) for record in records]
    ok = [one for one in outputs if one.ok]
    tokens_in, tokens_out = sum(one.prompt_len for one in ok), sum(one.output_len for one in ok)
    told: dict[str, Any] = {
        "duration": duration_s,
        "completed": len(ok),
        "failed": len(outputs) - len(ok),
        "total_input_tokens": tokens_in,
        "total_output_tokens": tokens_out,
        "request_throughput": len(ok) / duration_s,
        "request_goodput": _good(ok, goodput_ms) / duration_s if goodput_ms else None,
        "output_throughput": tokens_out / duration_s,
        "total_token_throughput": (tokens_in + tokens_out) / duration_s,
        **_peaks(ok),
        "rtfx": 0.0,
    }
    if detailed:
        told |= {
            "input_lens": [one.prompt_len for one in outputs],
            "output_lens": [one.output_len for one in outputs],
            "ttfts": [one.ttft for one in outputs],
            "itls": [one.itl for one in outputs],
            "start_times": [one.start for one in outputs],
            "errors": [one.error for one in outputs],
        }
    told |= {
        "latencies": [one.latency for one in outputs],
        "queue_times": [one.queue for one in outputs],
    }
    for name, values in (
        ("ttft", [one.ttft for one in ok]),
        ("tpot", [one.tpot for one in ok if one.output_len > 1]),
        ("itl", [gap for one in ok for gap in one.itl]),
        ("e2el", [one.latency for one in ok]),
    ):
        told |= _spread(name, values, percentiles)
    return told


def document(config: Config, records: Sequence[Record], *, wall: float) -> dict[str, Any]:
    """A whole result file, as `vllm bench serve --save-result --save-detailed` writes one.

    Of the requests that count; its duration is from the first of them to the end of the last.
    """
    window = config.window(records)
    counted = [record for record in records if window.counts(record) and record.outcome != "aborted"]
    began = min((origin_us(record) for record in counted), default=0)
    duration_s = (max((record.end_us for record in counted), default=1) - began) / 1e6
    limits = {_SLO[name]: limit for name, limit in config.slo_ms.items() if name in _SLO}
    backend = "openai-chat" if config.endpoint == "chat" else "openai"
    return {
        "date": time.strftime("%Y%m%d-%H%M%S", time.localtime(wall)),
        "endpoint_type": backend,
        "backend": backend,
        "label": None,
        "model_id": config.model,
        "tokenizer_id": None,
        "num_prompts": len(counted),
        "request_rate": "inf" if config.rate is None else config.rate,
        "burstiness": "inf" if config.arrivals == "constant" else 1.0,
        "max_concurrency": config.concurrency,
        **result(counted, duration_s=max(duration_s, 1e-6), goodput_ms=limits, detailed=True),
    }


def _good(ok: Sequence[Output], goodput_ms: Mapping[str, float]) -> int:
    """Requests that keep every limit."""
    of = {
        "ttft": lambda one: one.ttft,
        "tpot": lambda one: one.tpot,
        "e2el": lambda one: one.latency,
    }
    return sum(all(limit / 1000 >= of[name](one) for name, limit in goodput_ms.items()) for one in ok)


def _peaks(ok: Sequence[Output]) -> dict[str, Any]:
    """Of whole seconds after the first start: one event is one token there."""
    if not ok:
        return {"max_output_tokens_per_s": 0.0, "max_concurrent_requests": 0}
    first = min(one.start for one in ok)
    seconds = math.ceil(max(one.start + one.latency for one in ok) - first) + 1
    tokens, busy = [0.0] * seconds, [0.0] * seconds
    for one in ok:
        at = one.start + one.ttft
        for gap in (0.0, *one.itl):
            at += gap
            if 0 <= int(at - first) < seconds:
                tokens[int(at - first)] += 1
        for second in range(int(one.start - first), int(one.start + one.latency - first) + 1):
            busy[second] += 1
    return {"max_output_tokens_per_s": max(tokens), "max_concurrent_requests": int(max(busy))}


def _spread(name: str, values: Sequence[float], percentiles: Sequence[float]) -> dict[str, float]:
    values = values or [0.0]
    ordered = sorted(values)
    return {
        f"mean_{name}_ms": numbers.mean(values) * 1000,
        f"median_{name}_ms": numbers.median(ordered) * 1000,
        f"std_{name}_ms": numbers.deviation(values) * 1000,
        **{f"p{_word(p)}_{name}_ms": numbers.percentile(ordered, p) * 1000 for p in percentiles},
    }


def _word(percent: float) -> str:
    return str(int(percent)) if int(percent) == percent else str(percent)
