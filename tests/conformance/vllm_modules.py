"""Models and ways to cut them on stdin; on stdout the parameters one rank of vLLM's own classes creates.

Run by a Python that has vLLM for the CPU; see test_rank.py. One process stands for a rank of a group that is
not there: only the numbers that say how large the group is are changed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from math import prod
from pathlib import Path
from typing import Any

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1", DO_NOT_TRACK="1")


def built(config: dict[str, Any], tensor: int, pipeline: int, stage: int, *, experts: bool) -> dict[str, Any]:
    """Numbers of all parameters, and the shapes of the tables of positions."""
    import torch
    from vllm.config import CacheConfig, LoadConfig, ModelConfig, VllmConfig, set_current_vllm_config
    from vllm.distributed import parallel_state
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.model_executor.models import registry

    # A class that no run before has looked at is looked at here, not by a process with imports of its own.
    registry._run_in_subprocess = lambda look: look()

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        model = ModelConfig(
            model=folder, tokenizer=folder, skip_tokenizer_init=True, dtype="bfloat16", enforce_eager=True
        )
        whole = VllmConfig(
            model_config=model, cache_config=CacheConfig(), load_config=LoadConfig(load_format="dummy")
        )
        with set_current_vllm_config(whole):
            if not parallel_state.model_parallel_is_initialized():
                meeting = Path(tempfile.mkdtemp(), "meeting").as_uri()
                parallel_state.init_distributed_environment(1, 0, meeting, 0, "gloo")
                parallel_state.initialize_model_parallel(1, 1)
            ranks, pipes = parallel_state.get_tp_group(), parallel_state.get_pp_group()
            ranks.world_size = whole.parallel_config.tensor_parallel_size = tensor
            pipes.world_size = whole.parallel_config.pipeline_parallel_size = pipeline
            pipes.ranks, pipes.rank, pipes.rank_in_group = list(range(pipeline)), stage, stage
            whole.parallel_config.enable_expert_parallel = experts
            torch.set_default_dtype(model.dtype)
            try:
                made = initialize_model(vllm_config=whole, model_config=model)
            finally:
                torch.set_default_dtype(torch.float32)
    tables = {name: list(value.shape) for name, value in made.named_buffers() if "cos_sin_cache" in name}
    return {
        "numbers": sum(prod(value.shape) for _, value in made.named_parameters()),
        "tables": sorted(tables.values()),
    }


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):
        answers = [built(**job) for job in json.load(sys.stdin)]
    json.dump(answers, sys.stdout)
