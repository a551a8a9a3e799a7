"""What the servers say of the same run: /metrics of vLLM, the gateway and DCGM's exporter. Pure.

    page -> Look (name -> number)        `read`: of one model, all engines and cards of a page together
    looks of one moment -> Look          `together`: of all pages
    before, after, samples -> told       `between` and `watched`

Names: vLLM 0.32, our gateway's metrics.py, NVIDIA's dcgm-exporter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Look = Mapping[str, float]

_LINE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})? ([0-9.eE+-]+|NaN|[+-]Inf)(?: [0-9]+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
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
    "gateway_ttft_ms": "infctl_time_to_first_token_seconds",
    "gateway_overhead_ms": "infctl_gateway_overhead_seconds",
    "gateway_wait_ms": "infctl_queue_wait_seconds",
}
"""Of `gateway_wait_ms`: of those requests that had to wait."""
STEP = "vllm:iteration_tokens_total"
"""A histogram, despite its name: tokens of each step of the engine."""
_GATEWAY_TOKENS = "infctl_generation_tokens_total"
KV_USE, RUNNING, WAITING = (
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
)
_IN_FLIGHT, _QUEUED = "infctl_requests_in_flight", "infctl_queue_waiting"
_GAUGES = {
    "kv_use": KV_USE,
    "running": RUNNING,
    "waiting": WAITING,
    "gateway_in_flight": _IN_FLIGHT,
    "gateway_waiting": _QUEUED,
}
ENERGY, WATTS, HEAT = (
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
)
NVML_ENERGY, NVML_HEAT, NVML_CARDS = "nvml:energy_mj", "nvml:hot_cards", "nvml:cards"
"""Of this machine's own cards: sampler.py asks NVML for them."""
_HOT_BITS = 0x08 | 0x20 | 0x40
"""Slowed by the hardware, by the driver for heat, by the hardware for heat: nvmlClocksEventReasons."""
CARDS, HOT = "dcgm:cards", "dcgm:hot_cards"
_INFO, BLOCKS, BLOCK_SIZE = "vllm:cache_config_info", "vllm:num_gpu_blocks", "vllm:block_size"
KV_TOKENS = "vllm:kv_cache_size_tokens"
ENGINES = "vllm:engines"
_GREATEST = {KV_USE, BLOCK_SIZE}
"""Of several engines the greatest; all else is added up."""
_DCGM = {ENERGY, WATTS, HEAT}
_NAMES = {
    *_COUNTERS.values(),
    *(f"{name}_{part}" for name in (*_MEANS.values(), STEP) for part in ("sum", "count")),
    f"{STEP}_bucket",
    *_GAUGES.values(),
    _GATEWAY_TOKENS,
    _INFO,
}


def _lines(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        if not line.startswith(("vllm:", "infctl_", "DCGM_")):
            continue
        match = _LINE.fullmatch(line)
        if match is None or (match[1] not in _NAMES and match[1] not in _DCGM):
            continue
        yield match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])


def read(text: str, model: str, cards: frozenset[str] = frozenset()) -> dict[str, float] | None:
    """Of `model`; of the only one there is, whatever its name. Of `cards` (UUIDs or numbers), or of all.

    None: nothing of it is known here.
    """
    by_model: dict[str, dict[str, float]] = {}
    hardware: dict[str, float] = {}
    engines: dict[str, float] = {}
    for name, labels, value in _lines(text):
        if name in _DCGM:
            if not cards or cards & {labels.get("UUID", ""), labels.get("gpu", "")}:
                _card(hardware, name, value)
            continue
        if name == _INFO:  # which is not of a model: a page is one server's, and that has one
            _engine(engines, labels)
            continue
        found = by_model.setdefault(labels.get("model_name", labels.get("model", "")), {})
        if name == f"{STEP}_bucket":
            key = f"{name}:{labels.get('le', '')}"
            found[key] = found.get(key, 0.0) + value
        else:
            _add(found, name, value)
            _count_engine(found, name)
    mine = by_model.get(model) or (next(iter(by_model.values())) if len(by_model) == 1 else None)
    if mine is None and not hardware:
        return None
    return {**(mine or {}), **(engines if mine else {}), **hardware}


def _card(found: dict[str, float], name: str, value: float) -> None:
    if name == HEAT:
        _add(found, CARDS, 1.0)
        _add(found, HOT, float(bool(int(value) & _HOT_BITS)))
    else:
        _add(found, name, value)


def _engine(found: dict[str, float], labels: Mapping[str, str]) -> None:
    for label, name in (
        ("num_gpu_blocks", BLOCKS),
        ("block_size", BLOCK_SIZE),
        ("kv_cache_size_tokens", KV_TOKENS),
    ):
        if labels.get(label, "").isdecimal():
            _add(found, name, float(labels[label]))


def _add(found: dict[str, float], name: str, value: float) -> None:
    before = found.get(name)
    if before is None:
        found[name] = value
    else:
        found[name] = max(before, value) if name in _GREATEST else before + value


def _count_engine(found: dict[str, float], name: str) -> None:
    if name == KV_USE:  # each engine has one
        _add(found, ENGINES, 1.0)


def together(looks: Iterable[Look | None]) -> dict[str, float] | None:
    """Of several pages at one moment. None: none of them knew anything."""
    found: dict[str, float] = {}
    for look in looks:
        for name, value in (look or {}).items():
            _add(found, name, value)
    return found or None


def is_worth_sampling(look: Look) -> bool:
    """It has what changes from moment to moment."""
    return any(name in look for name in (*_GAUGES.values(), ENERGY))


def between(before: Look, after: Look) -> dict[str, Any] | None:
    """Of the whole run; means are of the requests that ended in between. None: a server was restarted."""
    moved = {
        name: after[name] - before.get(name, 0.0)
        for name in after
        if name.endswith(("_total", "_sum", "_count")) or name.startswith(f"{STEP}_bucket")
    }
    if any(value < -1e-6 for value in moved.values()):
        return None
    told: dict[str, Any] = {key: moved.get(name) for key, name in _COUNTERS.items()}
    for key, name in _MEANS.items():
        count = moved.get(f"{name}_count", 0.0)
        told[key] = moved.get(f"{name}_sum", 0.0) / count * 1e3 if count else None
    told["gateway_tokens_out"] = moved.get(_GATEWAY_TOKENS)
    told["engines"] = after.get(ENGINES)
    told["kv_blocks"], told["kv_block_size"] = after.get(BLOCKS), after.get(BLOCK_SIZE)
    told["kv_tokens"] = after.get(KV_TOKENS)
    told["steps"] = _steps(moved)
    return told


def _steps(moved: Mapping[str, float]) -> dict[str, Any] | None:
    """How many steps the engine made, and how many tokens each had: bound -> steps up to it."""
    count = moved.get(f"{STEP}_count", 0.0)
    if not count:
        return None
    bounds = {
        name.rpartition(":")[2]: value
        for name, value in moved.items()
        if name.startswith(f"{STEP}_bucket") and not name.endswith("Inf")
    }
    return {"count": count, "mean_tokens": moved.get(f"{STEP}_sum", 0.0) / count, "up_to": bounds}


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    """After the run began."""
    look: Look


def watched(samples: Sequence[Sample], took_s: float, tokens_out: float | None) -> dict[str, Any]:
    """What was seen while it ran: mean and most of each gauge; energy; how often a card was hot."""
    inside = [sample for sample in samples if 0 <= sample.at_s <= took_s]
    told: dict[str, Any] = {"samples": len(inside)}
    for key, name in _GAUGES.items():
        values = [sample.look[name] for sample in inside if name in sample.look]
        told[key] = {"mean": sum(values) / len(values), "most": max(values)} if values else None
    told["energy"] = _energy(samples, took_s, tokens_out)
    told["hot_share"] = _hot(inside)
    return told


def _energy(samples: Sequence[Sample], took_s: float, tokens_out: float | None) -> dict[str, Any] | None:
    for name, source in ((ENERGY, "dcgm"), (NVML_ENERGY, "nvml")):
        watts = _watts([(sample.at_s, sample.look[name]) for sample in samples if name in sample.look])
        if watts is None:
            continue
        joules = watts * took_s
        each = joules / tokens_out if tokens_out else None
        return {"source": source, "watts": watts, "joules": joules, "joules_a_token": each}
    return None


def _watts(told: Sequence[tuple[float, float]]) -> float | None:
    """Mean power from a counter of millijoules.

    An exporter refreshes it every some seconds: its age is known only where it changed. None: fewer than
    two changes were seen, or it went back.
    """
    changes = [after for before, after in pairwise(told) if after[1] != before[1]]
    if len(changes) < 2 or any(after[1] < before[1] for before, after in pairwise(changes)):
        return None
    (first_s, first_mj), (last_s, last_mj) = changes[0], changes[-1]
    return (last_mj - first_mj) / 1e3 / (last_s - first_s)


def _hot(samples: Sequence[Sample]) -> float | None:
    for cards, hot in ((CARDS, HOT), (NVML_CARDS, NVML_HEAT)):
        known = [sample.look for sample in samples if sample.look.get(cards)]
        if known:
            return sum(look.get(hot, 0.0) > 0 for look in known) / len(known)
    return None


def split(told: Mapping[str, Any], client_ms: float | None) -> dict[str, float | None] | None:
    """Where the mean TTFT of the run was spent, in milliseconds; the parts add up to it.

    client    between client and gateway: the network, both kernels, and the client itself
    gateway   between the gateway's head of the request and its first event, without the engine's part
    queue     in the engine's queue
    prefill   from there to the first token
    engine    the rest of what the engine says of itself
    Without a gateway's page `client` is all up to the engine. None: the engine says nothing.
    """
    engine, queue, prefill = (told.get(key) for key in ("ttft_ms", "queue_ms", "prefill_ms"))
    gateway = told.get("gateway_ttft_ms")
    if client_ms is None or engine is None or queue is None or prefill is None:
        return None
    return {
        "client": client_ms - (engine if gateway is None else gateway),
        "gateway": None if gateway is None else gateway - engine,
        "queue": queue,
        "prefill": prefill,
        "engine": engine - queue - prefill,
    }
