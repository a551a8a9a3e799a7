"""How the families name their tensors, and which small ones each has besides the common matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

Norms = Literal["none", "head", "whole"]
"""Norms of queries and keys. head: one weight a number of a head. whole: one a number of all heads."""

Experts = Literal["each", "mixtral", "granite", "stacked"]
"""How the file holds experts. each: three matrices an expert. mixtral: the same, called w1, w3, w2. granite,
stacked: two tensors with all experts in them."""


@dataclass(frozen=True, slots=True)
class Traits:
    root: str = "model."
    embed: str = "embed_tokens"
    embed_norm: str = ""
    """Where there is one, the first layer has no norm before its attention."""
    attention: str = "self_attn"
    fused_qkv: str = ""
    """The name of queries, keys and values where they are one tensor."""
    output: str = "o_proj"
    qkv_bias: str = "attention_bias"
    """The key that says it; `yes` or `no` where the family leaves no choice."""
    output_bias: str = "attention_bias"
    qk_norm: Norms = "none"
    sinks: bool = False
    """One number a head, which takes part in the softmax."""
    gated_queries: bool = False
    """q_proj holds a gate beside every query."""
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    norm_bias: bool = False
    final_norm: str = "norm"
    mlp: str = "mlp"
    fused_up: str = ""
    """The name of gate and up where they are one tensor."""
    up_down: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    mlp_bias: str = "mlp_bias"
    experts: Experts = "each"
    moe: str = "mlp"
    router: str = "gate"
    router_bias: bool = False
    shared: str = "shared_experts"
    shared_gate: str = ""
    """A row that weighs the shared expert."""
    expert_bias: bool = False
    correction_bias: str = ""
    """The name of the numbers that balance the experts' load, one each."""


_GEMMA_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
_QWEN_MOE = Traits(shared="shared_expert", shared_gate="shared_expert_gate")
_QWEN3_NEXT = replace(_QWEN_MOE, qk_norm="head", gated_queries=True)
_GRANITE_MOE = Traits(
    experts="granite", moe="block_sparse_moe", router="router.layer", mlp="shared_mlp", shared="shared_mlp"
)
_DEEPSEEK_V3 = Traits(correction_bias="gate.e_score_correction_bias")
_BAMBA = Traits(mlp="feed_forward", norms=("input_layernorm", "pre_ff_layernorm"))
_MAMBA = Traits(root="backbone.", embed="embeddings", norms=("norm",), final_norm="norm_f")
_MIXTRAL = Traits(experts="mixtral", moe="block_sparse_moe")

TRAITS: Mapping[str, Traits] = MappingProxyType(
    {
        "qwen2": Traits(qkv_bias="yes", output_bias="no"),
        "qwen2_moe": replace(_QWEN_MOE, qkv_bias="qkv_bias", output_bias="no"),
        "qwen3": Traits(qk_norm="head"),
        "qwen3_moe": Traits(qk_norm="head"),
        "qwen3_next": _QWEN3_NEXT,
        "qwen3_5_text": _QWEN3_NEXT,
        "qwen3_5_moe_text": _QWEN3_NEXT,
        "gemma2": Traits(norms=_GEMMA_NORMS),
        "gemma3_text": Traits(norms=_GEMMA_NORMS, qk_norm="head"),
        "gemma3n_text": Traits(norms=_GEMMA_NORMS, qk_norm="head"),
        "phi3": Traits(
            fused_qkv="qkv_proj", qkv_bias="no", output_bias="no", fused_up="gate_up_proj", mlp_bias="no"
        ),
        "phimoe": replace(_MIXTRAL, norm_bias=True),
        "mixtral": replace(_MIXTRAL, qkv_bias="no", output_bias="no"),
        "gpt_oss": Traits(sinks=True, experts="stacked", router="router", router_bias=True, expert_bias=True),
        "deepseek_v2": Traits(),
        "deepseek_v3": _DEEPSEEK_V3,
        "kimi_k2": _DEEPSEEK_V3,
        "glm": Traits(fused_up="gate_up_proj", output_bias="no"),
        "glm4": Traits(
            fused_up="gate_up_proj",
            output_bias="no",
            norms=(
                "input_layernorm",
                "post_attention_layernorm",
                "post_self_attn_layernorm",
                "post_mlp_layernorm",
            ),
        ),
        "glm4_moe": replace(_DEEPSEEK_V3, output_bias="no"),
        "granitemoe": _GRANITE_MOE,
        "granitemoehybrid": _GRANITE_MOE,
        "cohere": Traits(norms=("input_layernorm",)),
        "cohere2": Traits(norms=("input_layernorm",)),
        "olmo2": Traits(qk_norm="whole", norms=("post_attention_layernorm", "post_feedforward_layernorm")),
        "olmo3": Traits(qk_norm="whole", norms=("post_attention_layernorm", "post_feedforward_layernorm")),
        "starcoder2": Traits(
            qkv_bias="use_bias",
            output_bias="use_bias",
            mlp_bias="use_bias",
            up_down=("", "c_fc", "c_proj"),
            norm_bias=True,
        ),
        "bamba": replace(_BAMBA, final_norm="final_layernorm"),
        "falcon_h1": replace(_BAMBA, final_norm="final_layernorm"),
        "mamba": _MAMBA,
        "mamba2": _MAMBA,
        "nemotron_h": replace(
            _MAMBA,
            attention="mixer",
            mlp="mixer",
            moe="mixer",
            correction_bias="gate.e_score_correction_bias",
        ),
        "modernbert": Traits(
            embed="embeddings.tok_embeddings",
            embed_norm="embeddings.norm",
            attention="attn",
            fused_qkv="Wqkv",
            output="Wo",
            norms=("attn_norm", "mlp_norm"),
            fused_up="Wi",
            up_down=("", "", "Wo"),
            final_norm="final_norm",
        ),
        "llama4_text": Traits(
            mlp="feed_forward", moe="feed_forward", experts="stacked", router="router", shared="shared_expert"
        ),
    }
)

COMMON = Traits()
"""Llama's names, which most families took over."""

ALWAYS = frozenset({"gpt_oss/attention_bias", "qwen2_moe/qkv_bias", "starcoder2/use_bias"})
"""Keys that are true where a config does not write them."""


def said(family: str, key: str, config: Mapping[str, Any]) -> bool:
    """Whether the family has the bias that `key` decides about."""
    if key in {"yes", "no"}:
        return key == "yes"
    return bool(config.get(key, f"{family}/{key}" in ALWAYS))
