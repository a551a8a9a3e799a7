"""The arguments an engine would run with, nothing left open: as vLLM's server takes them on an L4."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infctl.sizing import Resolved

ON_AN_L4 = Resolved(
    max_model_len=8192,
    max_num_seqs=256,
    max_num_batched_tokens=2048,
    gpu_memory_utilization=0.92,
    kv_cache_memory_bytes=None,
    dtype="bfloat16",
    kv_dtype="bfloat16",
    block_size=16,
    tensor_parallel=1,
    pipeline_parallel=1,
    expert_parallel=False,
    compiled=True,
    async_scheduling=True,
    prefix_caching=True,
    hybrid_kv_cache=True,
    cpu_offload_bytes=0,
    quantization=None,
    vllm="0.32",
)


def settled(length: int = 8192, **changes: Any) -> Resolved:
    return replace(ON_AN_L4, max_model_len=length, **changes)
