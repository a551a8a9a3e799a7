"""A profile's model -> the arguments of vLLM that decide about memory."""

from __future__ import annotations

from infctl.profile.schema import Model
from infctl.sizing import DEPLOYED, EngineArgs, Vllm

POOLING_TASKS = frozenset({"embed", "rerank"})

# `extra_args` may hold none of the profile's own fields, but a few flags without a field move memory as well.
_WITHOUT_HYBRID = "--disable-hybrid-kv-cache-manager"


def engine_args(model: Model, vllm: Vllm = DEPLOYED) -> EngineArgs:
    """What the profile leaves open stays None: vLLM decides, or the plan."""
    return EngineArgs(
        max_model_len=model.max_model_len,
        max_num_seqs=model.max_num_seqs,
        max_num_batched_tokens=model.max_num_batched_tokens,
        gpu_memory_utilization=model.gpu_memory_utilization,
        # A share that the user wrote wins over bytes, here as in the command line.
        kv_cache_memory_bytes=None if model.gpu_memory_utilization is not None else model.kv_cache_memory,
        dtype=model.dtype,
        quantization=model.quantization,
        kv_cache_dtype=model.kv_cache_dtype,
        block_size=model.block_size,
        tensor_parallel=model.tensor_parallel,
        pipeline_parallel=model.pipeline_parallel,
        expert_parallel=bool(model.enable_expert_parallel),
        enforce_eager=bool(model.enforce_eager) or "-O0" in model.extra_args,
        async_scheduling=model.async_scheduling,
        prefix_caching=model.enable_prefix_caching,
        chunked_prefill=model.enable_chunked_prefill,
        hybrid_kv_cache=not any(_flag(argument) == _WITHOUT_HYBRID for argument in model.extra_args),
        runner=runner(model),
        cpu_offload_bytes=model.cpu_offload or 0,
        vllm=vllm,
    )


def runner(model: Model) -> str | None:
    """What `--runner` is; None: vLLM's own choice is right."""
    if model.runner is not None:
        return model.runner
    return "pooling" if POOLING_TASKS.issuperset(model.task) else None


def _flag(argument: str) -> str:
    return argument.partition("=")[0].replace("_", "-")
