"""A MemoryNeed as data, for `infctl size --json` and `infctl plan --json`. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from infctl.figure import Figure
from infctl.sizing import MemoryNeed

NO_CACHE_BLOCKS = 1
"""What vLLM reports for a model that keeps no KV cache."""


def need_data(need: MemoryNeed) -> dict[str, Any]:
    """Bytes are a GPU's (with tensor or pipeline parallelism: of one rank), tokens the replica's."""
    kv = need.kv
    figures: dict[str, Figure | None] = {
        "weights_bytes": need.weights,
        "activation_bytes": need.activation,
        "cudagraph_bytes": need.cudagraphs,
        "non_torch_bytes": need.non_torch,
        "kv_available_bytes": need.kv_bytes if kv is not None else None,
        "kv_tokens": need.kv_tokens if kv is not None else None,
    }
    others = {**figures, "serving_bytes": need.serving, "context_bytes": need.context}
    return {
        "fits": need.fits,
        "reason": need.reason,
        **{name: figure.expected if figure is not None else None for name, figure in figures.items()},
        "num_gpu_blocks": kv.num_blocks if kv is not None else NO_CACHE_BLOCKS,
        "max_concurrency": round(kv.concurrency, 4) if kv is not None else None,
        "max_model_len_that_fits": need.max_model_len_that_fits,
        "fate": need.fate,
        "block_size": kv.block_size if kv is not None else None,
        "serving_bytes": need.serving.expected,
        "context_bytes": need.context.expected,
        "budget_bytes": need.budget_bytes,
        "bands": {name: figure_data(figure) for name, figure in others.items() if figure is not None},
        "arguments": asdict(need.resolved),
        "warnings": list(need.warnings),
    }


def figure_data(figure: Figure) -> dict[str, Any]:
    return {"expected": figure.expected, "low": figure.low, "high": figure.high, "origin": figure.origin}
