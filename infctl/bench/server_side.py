"""What the server says of the same run: vLLM's /metrics before and after it, and what lies between. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(r"(vllm:[a-z_]+)(?:\{(.*)\})? ([0-9.eE+-]+)(?: [0-9]+)?")
_MODEL = re.compile(r'model_name="([^"]*)"')
_COUNTERS = {
    "tokens_in": "vllm:prompt_tokens_total",
    "tokens_out": "vllm:generation_tokens_total",
    "preemptions": "vllm:num_preemptions_total",
    "cache_queries": "vllm:prefix_cache_queries_total",
    "cache_hits": "vllm:prefix_cache_hits_total",
}
_MEANS = {
    "ttft_ms": "vllm:time_to_first_token_seconds",
    "queue_ms": "vllm:request_queue_time_seconds",
    "prefill_ms": "vllm:request_prefill_time_seconds",
    "decode_ms": "vllm:request_decode_time_seconds",
    "e2e_ms": "vllm:e2e_request_latency_seconds",
}
_NAMES = {*_COUNTERS.values(), *(f"{name}_{part}" for name in _MEANS.values() for part in ("sum", "count"))}


def read(text: str, model: str) -> dict[str, float] | None:
    """Name -> sum over engines, of `model`; of the only one there is, whatever its name. None: not vLLM's."""
    by_model: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[1] not in _NAMES:
            continue
        named = _MODEL.search(match[2] or "")
        found = by_model.setdefault(named[1] if named else "", {})
        found[match[1]] = found.get(match[1], 0.0) + float(match[3])
    if model in by_model:
        return by_model[model]
    return next(iter(by_model.values())) if len(by_model) == 1 else None


def between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float | None] | None:
    """Of the whole run; means are of the requests that ended in between. None: the server was restarted."""
    moved = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in after}
    if any(value < 0 for value in moved.values()):
        return None
    told: dict[str, float | None] = {key: moved.get(name) for key, name in _COUNTERS.items()}
    for key, name in _MEANS.items():
        count = moved.get(f"{name}_count", 0.0)
        told[key] = moved.get(f"{name}_sum", 0.0) / count * 1e3 if count else None
    return told
