"""What vLLM itself says where a start on a GPU fails: its own code is run up to the place that raises.

No GPU is needed for that: each function here calls one of vLLM's own with the figures of a card, and gives
back the text of what it raised or logged. Run by itself it prints all of them as JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest import mock

GIB = 2**30


def free_memory(total: float, free: float, share: float) -> str:
    """GiB, and gpu_memory_utilization."""
    from vllm.v1.worker.utils import request_memory

    seen = SimpleNamespace(total_memory=int(total * GIB), free_memory=int(free * GIB), device_="cuda:0")
    return _raised(lambda: request_memory(seen, SimpleNamespace(gpu_memory_utilization=share)))


def no_memory_for_blocks() -> str:
    return _kv(-1.5, 1.0, 8192, 0)


def one_request(needed: float, there: float, length: int, longest: int) -> str:
    """GiB; `longest` 0: not one token."""
    return _kv(there, needed, length, longest)


def _kv(there: float, needed: float, length: int, longest: int) -> str:
    from vllm.v1.core.kv_cache_utils import _check_enough_kv_cache_memory as check

    return _raised(lambda: check(int(there * GIB), lambda: int(needed * GIB), length, lambda _: longest))


def auto_fit() -> str:
    from vllm.v1.core import kv_cache_utils

    config = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=8192),
        attention_config=SimpleNamespace(hisparse_config=None),
    )
    with mock.patch.object(kv_cache_utils, "_estimate_max_model_len_from_groups", return_value=0):
        return _raised(lambda: kv_cache_utils._auto_fit_max_model_len(config, [["group"]], [1]))


def profiling(before: float, after: float) -> str:
    """GiB that were free before and after vLLM tried a full batch."""
    from vllm.v1.worker import gpu_worker

    @contextlib.contextmanager
    def measured(*_: Any, **__: Any) -> Iterator[Any]:
        yield SimpleNamespace(after_profile=SimpleNamespace(free_memory=int(after * GIB)))

    worker = mock.MagicMock()
    worker.cache_config.kv_cache_memory_bytes = None
    worker.init_snapshot.free_memory = int(before * GIB)
    with (
        mock.patch.object(gpu_worker, "memory_profiling", measured),
        mock.patch.object(gpu_worker, "maybe_apply_startup_plan"),
        mock.patch.object(gpu_worker, "maybe_rocm_profiling_fallback", return_value=None),
        mock.patch.object(gpu_worker, "set_current_vllm_config"),
    ):
        return _raised(lambda: gpu_worker.Worker.determine_available_memory(worker))


def loading(out_of_memory: str) -> str:
    """`out_of_memory`: PyTorch's own words. What vLLM logs beside them."""
    import torch
    from vllm.v1.worker import gpu_model_runner

    runner = mock.MagicMock()
    runner.parallel_config.enable_eplb = False
    logged: list[str] = []
    with (
        mock.patch.object(gpu_model_runner, "DeviceMemoryProfiler"),
        mock.patch.object(
            gpu_model_runner, "get_model_loader", side_effect=torch.cuda.OutOfMemoryError(out_of_memory)
        ),
        mock.patch.object(gpu_model_runner.logger, "error", logged.append),
    ):
        gpu_model_runner.DeviceMemoryProfiler.return_value.__exit__.return_value = False
        _raised(lambda: gpu_model_runner.GPUModelRunner.load_model(runner))
    return logged[0]


def sampler(requests: int) -> str:
    import torch
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    runner = mock.MagicMock()
    runner.device = torch.device("cpu")
    runner.vllm_config.model_config.multimodal_config = None
    runner.model.compute_logits.return_value = torch.zeros(requests, 8)
    runner.sampler.side_effect = RuntimeError("CUDA out of memory. Tried to allocate 594.00 MiB.")
    return _raised(lambda: GPUModelRunner._dummy_sampler_run(runner, torch.zeros(requests, 4)))


def pooler(requests: int) -> str:
    import torch
    from vllm.v1.worker.gpu.pool import pooling_runner as module

    runner = mock.MagicMock()
    runner.max_num_reqs = requests
    runner.model.pooler.side_effect = RuntimeError("CUDA out of memory. Tried to allocate 594.00 MiB.")
    kind = next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and hasattr(value, "_dummy_pooler_run_task")
    )
    with (
        mock.patch.object(module, "PoolingParams"),
        mock.patch.object(module, "PoolingMetadata"),
    ):
        module.PoolingParams.return_value.requires_token_ids = False
        return _raised(lambda: kind._dummy_pooler_run_task(runner, torch.zeros(requests, 4), "embed"))


def states(requests: int, blocks: int) -> str:
    from vllm.config.compilation import CompilationConfig, CUDAGraphMode
    from vllm.v1.attention.backend import AttentionCGSupport

    config = CompilationConfig()
    config.cudagraph_mode = CUDAGraphMode.FULL_AND_PIECEWISE
    cache = SimpleNamespace(has_mamba_layers=True, num_blocks=blocks)
    resolve = config.resolve_cudagraph_mode_and_sizes
    return _raised(lambda: resolve(AttentionCGSupport.ALWAYS, "backend", 1, False, cache, requests))


def _raised(call: Callable[[], Any]) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever vLLM raises there
        return str(error)
    raise AssertionError("vLLM raised nothing")


TOKEN = 57_344
"""Bytes of KV cache a token of Qwen2.5-7B."""
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 260.00 MiB. GPU 0 has a total capacity of 22.05 GiB of which"
    " 150.38 MiB is free. Including non-PyTorch memory, this process has 21.88 GiB memory in use. Of the"
    " allocated memory 21.55 GiB is allocated by PyTorch, and 25.06 MiB is reserved by PyTorch but"
    " unallocated. If reserved but unallocated memory is large try setting"
    " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
MESSAGES: Mapping[str, Callable[[], str]] = {
    "gpu_context_too_long": lambda: one_request(32_768 * TOKEN / GIB, 1.21, 32_768, 22_656),
    "gpu_no_room_for_a_token": lambda: one_request(8_192 * TOKEN / GIB, 0.0004, 8_192, 0),
    "gpu_no_kv_cache_memory": no_memory_for_blocks,
    "gpu_auto_fit": auto_fit,
    "gpu_neighbour": lambda: free_memory(22.05, 18.63, 0.9),
    "gpu_neighbour_of_the_plan": lambda: free_memory(22.05, 15.2, 0.8),
    "gpu_profiling_disturbed": lambda: profiling(20.11, 21.47),
    "gpu_weights_do_not_fit": lambda: loading(OUT_OF_MEMORY),
    "gpu_sampler": lambda: sampler(512),
    "gpu_pooler": lambda: pooler(256),
    "gpu_too_few_states": lambda: states(256, 97),
}
"""A log of tests/golden/vllm_logs -> what makes its error."""

if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: say() for name, say in MESSAGES.items()}) + "\n")
