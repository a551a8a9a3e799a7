"""Run by a Python that has vLLM: cases from stdin, what vLLM's own functions make of each to stdout."""

from __future__ import annotations

import json
import sys
from collections import ChainMap
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from vllm.config import CompilationConfig, VllmConfig
from vllm.distributed.utils import get_pp_indices
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
from vllm.model_executor.layers.mamba.mamba_utils import MambaStateShapeCalculator as Shapes
from vllm.model_executor.models import ModelRegistry
from vllm.platforms.interface import Platform
from vllm.v1 import kv_cache_interface
from vllm.v1.attention.backends.flash_attn import FlashAttentionBackend
from vllm.v1.core import kv_cache_utils as vllm_kv
from vllm.v1.kv_cache_interface import (
    ChunkedLocalAttentionSpec,
    FullAttentionSpec,
    KVCacheSpec,
    MambaSpec,
    MLAAttentionSpec,
    SlidingWindowSpec,
)
from vllm.v1.kv_cache_layout import KVCacheLayout

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "fp8": torch.float8_e4m3fn,
}


# It makes a tensor each time, a million times for these cases, which is half of the whole run.
kv_cache_interface.get_dtype_size = cache(kv_cache_interface.get_dtype_size)


class Config(SimpleNamespace):
    """What the functions under test read of a VllmConfig, with vLLM's own rule for tokens in flight."""

    max_concurrent_batches = VllmConfig.max_concurrent_batches
    max_in_flight_tokens = VllmConfig.max_in_flight_tokens


class FlashLayer(AttentionLayerBase):
    """A layer of the backend that CUDA prefers."""

    def get_attn_backend(self) -> type[FlashAttentionBackend]:
        return FlashAttentionBackend

    def get_kv_cache_spec(self, vllm_config: VllmConfig) -> None:
        """Not asked."""


COMPILATION = CompilationConfig()
COMPILATION.static_forward_context["l"] = FlashLayer()


def config(case: dict[str, Any]) -> Config:
    return Config(
        model_config=SimpleNamespace(max_model_len=case["max_model_len"], original_max_model_len=None),
        cache_config=SimpleNamespace(
            num_gpu_blocks_override=None,
            prefix_cache_retention_interval=None,
            mamba_cache_mode="align" if case["prefix"] else "none",
            get_resolved_kv_cache_layout=lambda: KVCacheLayout.LBNHC,
        ),
        scheduler_config=SimpleNamespace(
            disable_hybrid_kv_cache_manager=not case["hybrid"],
            max_num_batched_tokens=case["batch"],
            async_scheduling=case["async"],
        ),
        parallel_config=SimpleNamespace(
            decode_context_parallel_size=1,
            tensor_parallel_size=case["tp"],
            pipeline_parallel_size=len(case["available"]),
        ),
        attention_config=SimpleNamespace(hisparse_config=None),
        device_config=SimpleNamespace(device_type="cuda"),
        speculative_config=None,
        kv_transfer_config=None,
        num_prefill_lookahead_tokens=0,
        use_v2_model_runner=True,
    )


def state(layer: dict[str, Any], tp: int) -> tuple[tuple[int, ...], ...]:
    """The shapes of a state as vLLM's models ask for them."""
    kind, conv, inner = layer["state_kind"], layer["conv_kernel"], layer["inner"]
    heads, size, groups, width = layer["heads"], layer["head_dim"], layer["groups"], layer["state"]
    match kind:
        case "linear":
            return Shapes.linear_attention_state_shape(heads, tp, size)
        case "short_conv":
            return Shapes.short_conv_state_shape(tp, inner, conv)
        case "mamba1":
            return Shapes.mamba1_state_shape(tp, inner, width, conv)
        case "mamba2":
            return Shapes.mamba2_state_shape(tp, inner, groups, heads, size, width, conv)
    return Shapes.gated_delta_net_state_shape(tp, groups, heads, width, size, conv)


def state_dtypes(layer: dict[str, Any], dtype: str) -> tuple[torch.dtype, ...]:
    own = DTYPES[dtype if layer["state_dtype"] == "auto" else layer["state_dtype"]]
    one_of = {"linear": (own,), "short_conv": (DTYPES[dtype],)}
    return one_of.get(layer["state_kind"], (DTYPES[dtype], own))


def aligned(case: dict[str, Any]) -> tuple[int, int | None, int]:
    """(tokens a block, padded page of states, tokens a state block), by the platform's own alignment."""
    tp, layers = case["tp"], case["layers"]
    states = [layer.get("beside", layer) for layer in layers if "beside" in layer or layer["kind"] == "state"]
    attention = next((layer for layer in layers if layer["kind"] != "state"), None)
    cache = SimpleNamespace(
        cache_dtype="fp8_e4m3" if case["kv_dtype"] == "fp8" else "auto",
        block_size=case["block"],
        mamba_cache_mode="align" if case["prefix"] else "none",
        mamba_block_size=case["block"] if case["prefix"] else case["max_model_len"],
        mamba_page_size_padded=None,
        kv_cache_dtype_skip_layers=[],
    )
    if states and attention is not None:
        model = SimpleNamespace(
            dtype=DTYPES[case["dtype"]],
            use_mla=attention["kind"] == "mla",
            architecture="any",
            get_num_kv_heads=lambda _: max(1, attention["kv_heads"] // tp),
            get_head_size=lambda: attention["latent"] or attention["head_dim"],
        )
        if model.use_mla:
            model.get_num_kv_heads = lambda _: 1
        of_model = SimpleNamespace(
            get_mamba_state_shape_from_config=lambda _: state(states[0], tp),
            get_mamba_state_dtype_from_config=lambda _: state_dtypes(states[0], case["dtype"]),
        )
        ModelRegistry.resolve_model_cls = lambda *_, **__: (of_model, "any")
        stand_in = SimpleNamespace(
            cache_config=cache,
            model_config=model,
            parallel_config=None,
            compilation_config=COMPILATION,
        )
        Platform._align_hybrid_block_size(stand_in, FlashAttentionBackend)
    return cache.block_size, cache.mamba_page_size_padded, cache.mamba_block_size


def built(case: dict[str, Any]) -> list[dict[str, KVCacheSpec]]:
    """Each rank's specs from a whole model's layers, as vLLM's layers make them."""
    block, padded, span = aligned(case)
    every = [
        {
            f"l{n}.{kind}": spec
            for kind, part in (("own", layer), ("beside", layer.get("beside")))
            if part is not None and (spec := from_layer(part, case, block, padded, span)) is not None
        }
        for n, layer in enumerate(case["layers"])
    ]
    ranks = len(case["available"])
    cut = [get_pp_indices(len(every), rank, ranks) for rank in range(ranks)]
    return [dict(ChainMap(*reversed(every[first:last]))) for first, last in cut]


def from_layer(
    layer: dict[str, Any], case: dict[str, Any], block: int, padded: int | None, span: int
) -> KVCacheSpec | None:
    kind = layer["kind"]
    if kind in {"shared", "encoder", "none"}:
        return None
    if kind == "state":
        shapes, dtypes = state(layer, case["tp"]), state_dtypes(layer, case["dtype"])
        return MambaSpec(
            shapes=shapes,
            dtypes=dtypes,
            block_size=span,
            page_size_padded=padded,
            mamba_cache_mode="align" if case["prefix"] else "none",
        )
    heads = 1 if kind == "mla" else max(1, layer["kv_heads"] // case["tp"])
    return attention(
        kind,
        window=layer["window"],
        block_size=block,
        num_kv_heads=heads,
        head_size=layer["latent"] or layer["head_dim"],
        head_size_v=0 if kind == "mla" else layer["value_dim"] or layer["head_dim"],
        dtype=DTYPES[case["kv_dtype"]],
    )


def given(case: dict[str, Any]) -> list[dict[str, KVCacheSpec]]:
    """Each rank's specs as the case spells them out, also such as no model has."""
    ranks, names = [], 0
    for rank in case["ranks"]:
        specs: dict[str, KVCacheSpec] = {}
        for layer in rank:
            specs[f"l{names}"] = from_given(layer)
            names += 1
        ranks.append(specs)
    return ranks


def from_given(layer: dict[str, Any]) -> KVCacheSpec:
    if layer["kind"] == "state":
        return MambaSpec(
            shapes=((layer["numbers"],),),
            dtypes=(torch.bfloat16,),
            block_size=layer["block"],
            page_size_padded=layer["padded"],
        )
    heads, key, value = layer["shape"]
    return attention(
        layer["kind"],
        window=layer["window"],
        block_size=layer["block"],
        num_kv_heads=heads,
        head_size=key,
        head_size_v=value,
        dtype=DTYPES[layer["dtype"]],
        page_size_padded=layer["padded"],
    )


def attention(kind: str, window: int | None, **common: Any) -> KVCacheSpec:
    match kind:
        case "mla":
            return MLAAttentionSpec(**common)
        case "sliding":
            return SlidingWindowSpec(sliding_window=window, **common)
        case "chunked":
            return ChunkedLocalAttentionSpec(attention_chunk_size=window, **common)
    return FullAttentionSpec(**common)


def answer(case: dict[str, Any]) -> dict[str, Any]:
    ranks = given(case) if "ranks" in case else built(case)
    pages = [[spec.page_size_bytes for spec in rank.values()] for rank in ranks]
    sizes = [[spec.block_size for spec in rank.values()] for rank in ranks]
    found: dict[str, Any] = {"pages": pages, "sizes": sizes, "fits": False, "refused": False}
    longest = config(case | {"max_model_len": case["upto"]})
    longest.model_config.original_max_model_len = -1
    try:
        vllm_kv.get_kv_cache_configs(longest, [dict(rank) for rank in ranks], case["available"])
        found["longest"] = longest.model_config.max_model_len
    except (ValueError, NotImplementedError) as error:
        found["longest"] = 0
        found["refused"] = "memory" not in str(error).lower() or isinstance(error, NotImplementedError)
        found["said"] = str(error)
    asked = config(case)
    try:
        configs = vllm_kv.get_kv_cache_configs(asked, [dict(rank) for rank in ranks], case["available"])
    except (ValueError, NotImplementedError) as error:
        found["said"] = str(error)
        return found
    scheduler = vllm_kv.generate_scheduler_kv_cache_config(configs)
    tokens, concurrency = vllm_kv.get_kv_cache_capacity(asked, scheduler)
    return found | {
        "fits": True,
        "blocks": scheduler.num_blocks,
        "tokens": tokens,
        "concurrency": concurrency,
        "block_size": scheduler.kv_cache_groups[0].kv_cache_spec.block_size,
    }


if __name__ == "__main__":
    json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
