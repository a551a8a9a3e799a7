"""How busy an engine is, as its own /metrics say: KV cache, requests, tokens a second. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KEEP = "vllm:"
"""The lines of the page that are read here."""
_NAMES = {
    "kv_use": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
    "tokens": ("vllm:generation_tokens_total", "vllm:generation_tokens"),
}
_SHARES = {"kv_use"}
"""Of several engines behind one port the fullest is told, of everything else the sum."""


@dataclass(frozen=True, slots=True)
class Load:
    kv_use: float | None = None
    """0 to 1; None: no KV cache, or not said."""
    running: int | None = None
    waiting: int | None = None
    tokens: float | None = None
    """Generated since it began."""
    at: float = 0.0
    """Of time.monotonic(), where it was asked."""
    tokens_per_s: float | None = None
    """Since the look before."""


def read(page: str, at: float) -> Load:
    """From a page in Prometheus' text format; what it does not say is None."""
    values: dict[str, list[float]] = {}
    for line in page.splitlines():
        if not line.startswith(KEEP):
            continue
        head, _, number = line.rpartition(" ")
        values.setdefault(head.partition("{")[0], []).extend(_number(number))
    found = {key: _of(key, values) for key in _NAMES}
    running, waiting = found["running"], found["waiting"]
    return Load(
        kv_use=found["kv_use"],
        running=None if running is None else round(running),
        waiting=None if waiting is None else round(waiting),
        tokens=found["tokens"],
        at=at,
    )


def since(before: Load | None, now: Load) -> Load:
    """`now` with the tokens a second since `before`; an engine that began anew meanwhile has none."""
    if before is None or before.tokens is None or now.tokens is None:
        return now
    seconds = now.at - before.at
    if seconds <= 0 or now.tokens < before.tokens:
        return now
    return Load(
        now.kv_use, now.running, now.waiting, now.tokens, now.at, (now.tokens - before.tokens) / seconds
    )


def of_rounds(told: Mapping[str, Any], before: Mapping[str, Load]) -> dict[str, Load]:
    """What `fetch.rounds` answered -> each engine that said something, by its name there."""
    found = dict(before)
    seen: dict[str, Load] = {}
    for at, answers in zip(told["at"], told["rounds"], strict=True):
        for name, answer in answers.items():
            if answer.get("status") == 200:
                seen[name] = since(found.get(name), read(answer["body"], float(at)))
                found[name] = seen[name]
    return seen


def asks(urls: Mapping[str, str], timeout_s: float) -> list[dict[str, Any]]:
    """For `fetch.rounds`: the metrics of engines at `urls`."""
    return [{"name": name, "url": f"{url}/metrics", "timeout_s": timeout_s} for name, url in urls.items()]


def _of(key: str, values: Mapping[str, Sequence[float]]) -> float | None:
    for name in _NAMES[key]:
        found = values.get(name)
        if found:
            return max(found) if key in _SHARES else sum(found)
    return None


def _number(text: str) -> list[float]:
    try:
        value = float(text)
    except ValueError:
        return []
    return [value] if math.isfinite(value) else []
