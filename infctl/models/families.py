"""Which families are taught, and what each one's own code takes where a config leaves a key out.

A family is config.json's `model_type`. The defaults are those of the family's configuration class, which
vLLM reads the file with: a hub config often says only what differs from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

Kinds = Literal[
    "plain",
    "qwen2",
    "qwen2_moe",
    "every",
    "even",
    "llama4",
    "smollm3",
    "linear",
    "mamba_words",
    "bamba",
    "nemotron_h",
    "falcon_h1",
    "state",
    "encoder",
    "untaught",
]
"""How the layers' kinds are found where `layer_types` is not written; see `layer_kinds`."""

Experts = Literal["none", "all", "sparse_step", "first_dense", "interleaved", "hybrid", "generic"]
"""Which layers have experts, and under which keys; see `feed_forward`."""

StateKeys = Literal["none", "gdn", "mamba1", "mamba2", "bamba", "nemotron_h"]
"""Under which keys the size of a layer's state is written; see `state`."""


@dataclass(frozen=True, slots=True)
class Family:
    kinds: Kinds = "plain"
    experts: Experts = "none"
    state: StateKeys = "none"
    gated: bool = True
    pattern: int = 0
    """kinds `every`, `linear`: each such layer has full attention, where the config does not say."""
    mla: bool = False
    window_extra: int = 0
    """Tokens a window has beyond the number written."""
    float16: bool = True
    """vLLM lets it run in float16."""
    dropped: str = ""
    """The last vLLM that runs it."""
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _family(defaults: dict[str, Any] | None = None, **rules: Any) -> Family:
    """Every class ties embeddings unless it says otherwise; most decoders do not."""
    return Family(defaults=MappingProxyType({"tie_word_embeddings": False} | (defaults or {})), **rules)


def _encoder(**rules: Any) -> Family:
    return _family(
        {"tie_word_embeddings": True, "max_position_embeddings": 512, "type_vocab_size": 2},
        kinds="encoder",
        **{"gated": False} | rules,
    )


_GEMMA = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "tie_word_embeddings": True}
_GDN = {
    "head_dim": 256,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "max_position_embeddings": 32_768,
}
_MAMBA_BLOCK = {
    "mamba_n_heads": 128,
    "mamba_d_head": "auto",
    "mamba_n_groups": 1,
    "mamba_d_state": 256,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
}
_MLA = {
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
}
_DEEPSEEK_V3 = _MLA | {
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3,
    "max_position_embeddings": 4096,
}
_QWEN2 = {"num_key_value_heads": 32, "sliding_window": 4096, "max_position_embeddings": 32_768}
_QWEN2_MOE = {
    "num_key_value_heads": 16,
    "sliding_window": 4096,
    "max_position_embeddings": 32_768,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "num_experts_per_tok": 4,
    "num_experts": 60,
}
_QWEN3_MOE = {
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "max_position_embeddings": 32_768,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 768,
    "num_experts_per_tok": 8,
    "num_experts": 128,
}
_QWEN3_NEXT = _GDN | {
    "num_key_value_heads": 2,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "num_experts_per_tok": 10,
    "num_experts": 512,
}
_QWEN3_5_MOE = _QWEN3_NEXT | {"num_experts_per_tok": 8, "num_experts": 256}
_MIXTRAL = {"num_key_value_heads": 8, "max_position_embeddings": 131_072, "num_experts_per_tok": 2}
_PHI3 = {"max_position_embeddings": 4096, "original_max_position_embeddings": 4096}
_LLAMA4 = {
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131_072,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "attention_chunk_size": 8192,
}
_GLM = {"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131_072}

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        # Dense decoders.
        "llama": _family({"max_position_embeddings": 2048}),
        "mistral": _family(
            {"num_key_value_heads": 8, "max_position_embeddings": 131_072, "sliding_window": 4096}
        ),
        "ministral": _family(
            {"num_key_value_heads": 8, "max_position_embeddings": 131_072, "sliding_window": 4096}
        ),
        "ministral3": _family(
            {"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262_144}
        ),
        "qwen2": _family(_QWEN2, kinds="qwen2"),
        "qwen3": _family(_QWEN2 | {"head_dim": 128}, kinds="qwen2"),
        "gemma2": _family(
            _GEMMA
            | {"sliding_window": 4096, "max_position_embeddings": 8192, "final_logit_softcapping": 30.0},
            kinds="every",
            pattern=2,
            float16=False,
        ),
        "gemma3_text": _family(
            _GEMMA | {"sliding_window": 4096, "max_position_embeddings": 131_072, "vocab_size": 262_208},
            kinds="every",
            pattern=6,
            float16=False,
        ),
        "gemma3n_text": _family(
            _GEMMA
            | {
                "num_key_value_heads": 2,
                "sliding_window": 512,
                "max_position_embeddings": 32_768,
                "vocab_size": 262_400,
                "num_kv_shared_layers": 15,
                "final_logit_softcapping": 30.0,
            },
            kinds="every",
            pattern=5,
        ),
        "phi3": _family(_PHI3),
        "granite": _family({"max_position_embeddings": 2048}),
        "cohere": _family({"max_position_embeddings": 8192, "tie_word_embeddings": True}),
        "cohere2": _family(
            {"max_position_embeddings": 8192, "sliding_window": 4096, "tie_word_embeddings": True},
            kinds="every",
            pattern=4,
            window_extra=1,
        ),
        "olmo2": _family({"max_position_embeddings": 2048}),
        "olmo3": _family({"max_position_embeddings": 2048, "sliding_window": 4096}, kinds="every", pattern=4),
        "starcoder2": _family(
            {"num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True},
            gated=False,
        ),
        "smollm3": _family(
            {"num_key_value_heads": 4, "max_position_embeddings": 32_768, "tie_word_embeddings": True},
            kinds="smollm3",
        ),
        "glm": _family(_GLM),
        "glm4": _family(_GLM, float16=False),
        # Experts.
        "mixtral": _family(_MIXTRAL | {"num_local_experts": 8}, experts="all"),
        "phimoe": _family(_MIXTRAL | {"num_local_experts": 16}, experts="all"),
        "qwen2_moe": _family(_QWEN2_MOE, kinds="qwen2_moe", experts="sparse_step"),
        "qwen3_moe": _family(_QWEN3_MOE, kinds="qwen2_moe", experts="sparse_step"),
        "granitemoe": _family(
            {"max_position_embeddings": 2048, "num_local_experts": 8, "num_experts_per_tok": 2}, experts="all"
        ),
        "gpt_oss": _family(
            {
                "num_key_value_heads": 8,
                "head_dim": 64,
                "sliding_window": 128,
                "max_position_embeddings": 131_072,
                "num_local_experts": 128,
                "num_experts_per_tok": 4,
            },
            kinds="even",
            experts="all",
        ),
        "llama4_text": _family(_LLAMA4, kinds="llama4", experts="interleaved"),
        "deepseek_v2": _family(
            _MLA
            | {
                "n_routed_experts": 64,
                "n_shared_experts": 2,
                "moe_intermediate_size": 1407,
                "first_k_dense_replace": 0,
                "max_position_embeddings": 2048,
            },
            experts="first_dense",
            mla=True,
        ),
        "deepseek_v3": _family(_DEEPSEEK_V3, experts="first_dense", mla=True),
        "kimi_k2": _family(_DEEPSEEK_V3, experts="first_dense", mla=True),
        "glm4_moe": _family(
            {
                "num_key_value_heads": 8,
                "max_position_embeddings": 131_072,
                "moe_intermediate_size": 1408,
                "num_experts_per_tok": 8,
                "n_shared_experts": 1,
                "n_routed_experts": 128,
                "first_k_dense_replace": 1,
            },
            experts="first_dense",
        ),
        # Layers with a state beside layers with attention, or instead of them.
        "qwen3_next": _family(_QWEN3_NEXT, kinds="linear", experts="sparse_step", state="gdn", pattern=4),
        "qwen3_5_text": _family(_GDN | {"num_key_value_heads": 4}, kinds="linear", state="gdn", pattern=4),
        "qwen3_5_moe_text": _family(
            _QWEN3_5_MOE, kinds="linear", experts="sparse_step", state="gdn", pattern=4
        ),
        "granitemoehybrid": _family(
            _MAMBA_BLOCK
            | {
                "max_position_embeddings": 2048,
                "num_local_experts": 8,
                "num_experts_per_tok": 2,
                "shared_intermediate_size": 1024,
            },
            kinds="mamba_words",
            experts="hybrid",
            state="bamba",
        ),
        "bamba": _family(
            _MAMBA_BLOCK | {"num_key_value_heads": 8, "max_position_embeddings": 262_144},
            kinds="bamba",
            state="bamba",
            dropped="0.23",
        ),
        "falcon_h1": _family(
            _MAMBA_BLOCK | {"num_key_value_heads": 8, "max_position_embeddings": 8192, "mamba_d_ssm": 1024},
            kinds="falcon_h1",
            state="bamba",
        ),
        "nemotron_h": _family(
            {
                "num_key_value_heads": 8,
                "head_dim": 128,
                "max_position_embeddings": 4096,
                "ssm_state_size": 128,
                "mamba_num_heads": 128,
                "mamba_head_dim": 64,
                "n_groups": 8,
                "conv_kernel": 4,
                "mamba_ssm_cache_dtype": "float32",
                "n_routed_experts": 8,
                "n_shared_experts": 1,
                "moe_intermediate_size": 7688,
                "moe_shared_expert_intermediate_size": 7688,
                "num_experts_per_tok": 2,
            },
            kinds="nemotron_h",
            state="nemotron_h",
            gated=False,
        ),
        "mamba": _family(
            {"state_size": 16, "conv_kernel": 4, "expand": 2, "tie_word_embeddings": True},
            kinds="state",
            state="mamba1",
        ),
        "mamba2": _family(
            {
                "state_size": 128,
                "conv_kernel": 4,
                "expand": 2,
                "n_groups": 8,
                "num_heads": 128,
                "head_dim": 64,
            },
            kinds="state",
            state="mamba2",
        ),
        # Encoders: no cache at all.
        "bert": _encoder(),
        "roberta": _encoder(),
        "xlm-roberta": _encoder(),
        "modernbert": _family(
            {"tie_word_embeddings": True, "max_position_embeddings": 8192}, kinds="encoder", gated=True
        ),
    }
)

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "gemma3": "gemma3_text",
        "gemma3n": "gemma3n_text",
        "llama4": "llama4_text",
        "qwen3_vl_text": "qwen3",
        "qwen3_vl_moe_text": "qwen3_moe",
    }
)
"""Other names of the same: an outer config's, or of a language part that is a family's own."""

_UNKNOWN = MappingProxyType({"tie_word_embeddings": False})
UNTAUGHT = Family(kinds="untaught", experts="generic", defaults=_UNKNOWN)
"""For an architecture without rules: dense GQA, experts where the usual keys name them."""

UNTAUGHT_ENCODER = Family(kinds="encoder", experts="generic", gated=False, defaults=_UNKNOWN)

ENCODERS_UNTAUGHT = frozenset(
    {"new", "gte", "nomic_bert", "camembert", "distilbert", "electra", "mpnet", "eurobert"}
)
"""Without rules, but known to keep no cache, which decides more than all the rest."""


_ALSO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"kimi_k2": ("deepseekv3",), "bert": ("hfcolbert",), "xlm-roberta": ("bgem3",), "qwen3": ("voyageqwen3",)}
)
"""How architectures of a family begin that do not begin with its name."""


def canonical(model_type: str) -> str:
    return ALIASES.get(model_type, model_type)


def belongs(architecture: str, model_type: str) -> bool:
    """As `Qwen2ForRewardModel` to qwen2. vLLM goes by the architecture, the rules here by the family."""
    begins = (_letters(model_type.removesuffix("_text")), *_ALSO.get(model_type, ()))
    return _letters(architecture).startswith(begins)


def rules_of(architecture: str, model_type: str) -> Family:
    """The family's; for one that is not taught, those that suit the most."""
    known = FAMILIES.get(model_type)
    if "Bidirectional" in architecture:
        return replace(known or UNTAUGHT_ENCODER, kinds="encoder")
    return known or (UNTAUGHT_ENCODER if model_type in ENCODERS_UNTAUGHT else UNTAUGHT)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
