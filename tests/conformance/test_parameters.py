"""Every tensor of every family, by name and shape, is that of transformers' own model class."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infctl.models import Weight
from infctl.models.config import facts as read
from infctl.models.inventory import parameters

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

PYTHON = os.environ.get("INFCTL_VLLM_PYTHON", sys.executable)
ASK = Path(__file__).with_name("transformers_tensors.py")

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 320,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
SHARED = EXPERTS | {"shared_expert_intermediate_size": 48}
DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
LATENT = {
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 20,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
MAMBA = {
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 16,
    "mamba_expand": 2,
}
MIXED = MAMBA | {"layer_types": ["mamba", "attention", "mamba"]}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "llama", {}),
    "llama with biases": (
        "LlamaForCausalLM",
        "llama",
        {"attention_bias": True, "mlp_bias": True, "head_dim": 32, "tie_word_embeddings": True},
    ),
    "mistral": ("MistralForCausalLM", "mistral", {"head_dim": 32}),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", {}),
    "qwen2 that scores": ("Qwen2ForSequenceClassification", "qwen2", {"num_labels": 1}),
    "qwen2-moe": ("Qwen2MoeForCausalLM", "qwen2_moe", SHARED | {"decoder_sparse_step": 2}),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", {"head_dim": 32}),
    "qwen3 that embeds": ("Qwen3Model", "qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "qwen3_moe", EXPERTS | {"head_dim": 32, "mlp_only_layers": [0]}),
    "qwen3-next": ("Qwen3NextForCausalLM", "qwen3_next", SHARED | DELTA | {"head_dim": 32}),
    "qwen3.5": ("Qwen3_5ForCausalLM", "qwen3_5_text", DELTA | {"head_dim": 32}),
    "qwen3.5-moe": ("Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", SHARED | DELTA | {"head_dim": 32}),
    "gemma2": ("Gemma2ForCausalLM", "gemma2", {"head_dim": 32}),
    "gemma3": ("Gemma3ForCausalLM", "gemma3_text", {"head_dim": 32}),
    "gemma3n": (
        "Gemma3nForCausalLM",
        "gemma3n_text",
        {
            "head_dim": 16,
            "vocab_size_per_layer_input": 300,
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 4,
            "num_kv_shared_layers": 0,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "activation_sparsity_pattern": [0.0] * 3,
            "tie_word_embeddings": True,
        },
    ),
    "phi3": ("Phi3ForCausalLM", "phi3", {}),
    "phimoe": (
        "PhimoeForCausalLM",
        "phimoe",
        {"num_local_experts": 4, "attention_bias": True, "lm_head_bias": True},
    ),
    "gpt-oss": ("GptOssForCausalLM", "gpt_oss", {"head_dim": 32, "num_local_experts": 4}),
    "deepseek-v2": (
        "DeepseekV2ForCausalLM",
        "deepseek_v2",
        LATENT | {"q_lora_rank": None, "topk_method": "greedy"},
    ),
    "deepseek-v2 with narrow queries": (
        "DeepseekV2ForCausalLM",
        "deepseek_v2",
        LATENT | {"q_lora_rank": 24, "attention_bias": True, "topk_method": "greedy"},
    ),
    "deepseek-v3": (
        "DeepseekV3ForCausalLM",
        "deepseek_v3",
        LATENT | {"q_lora_rank": 24, "topk_method": "noaux_tc"},
    ),
    "mixtral": ("MixtralForCausalLM", "mixtral", {"num_local_experts": 4}),
    "granite": ("GraniteForCausalLM", "granite", {"attention_bias": True, "mlp_bias": True}),
    "granite-moe": (
        "GraniteMoeForCausalLM",
        "granitemoe",
        {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "granite hybrid": (
        "GraniteMoeHybridForCausalLM",
        "granitemoehybrid",
        MIXED | {"num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 48},
    ),
    "granite hybrid without experts": (
        "GraniteMoeHybridForCausalLM",
        "granitemoehybrid",
        MIXED | {"num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 48},
    ),
    "bamba": ("BambaForCausalLM", "bamba", MAMBA | {"attn_layer_indices": [1]}),
    "falcon-h1": ("FalconH1ForCausalLM", "falcon_h1", MAMBA | {"mamba_d_ssm": 128}),
    "cohere": ("CohereForCausalLM", "cohere", {}),
    "cohere2": ("Cohere2ForCausalLM", "cohere2", {}),
    "olmo2": ("Olmo2ForCausalLM", "olmo2", {}),
    "olmo3": ("Olmo3ForCausalLM", "olmo3", {}),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2", {}),
    "smollm3": ("SmolLM3ForCausalLM", "smollm3", {}),
    "glm": ("GlmForCausalLM", "glm", {"head_dim": 16, "attention_bias": True}),
    "glm4": ("Glm4ForCausalLM", "glm4", {"head_dim": 16, "attention_bias": True}),
    "glm4-moe": (
        "Glm4MoeForCausalLM",
        "glm4_moe",
        LATENT | {"head_dim": 16, "attention_bias": True, "n_shared_experts": 1},
    ),
    "ministral3": ("Ministral3ForCausalLM", "ministral3", {"head_dim": 32}),
    "ministral": ("MinistralForCausalLM", "ministral", {"head_dim": 32}),
    "llama4": (
        "Llama4ForCausalLM",
        "llama4_text",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "intermediate_size_mlp": 128,
            "interleave_moe_layer_step": 3,
        },
    ),
    "mamba": ("MambaForCausalLM", "mamba", {"state_size": 8}),
    "mamba2": (
        "Mamba2ForCausalLM",
        "mamba2",
        {"state_size": 16, "num_heads": 8, "head_dim": 16, "n_groups": 2},
    ),
    "nemotron-h": (
        "NemotronHForCausalLM",
        "nemotron_h",
        {
            "head_dim": 16,
            "hybrid_override_pattern": "M*M",
            "mamba_num_heads": 8,
            "mamba_head_dim": 16,
            "n_groups": 2,
            "ssm_state_size": 16,
        },
    ),
    "bert": ("BertModel", "bert", {"type_vocab_size": 2}),
    "bert that scores": ("BertForSequenceClassification", "bert", {"type_vocab_size": 2}),
    "roberta": ("RobertaModel", "roberta", {"type_vocab_size": 2}),
    "xlm-roberta": ("XLMRobertaModel", "xlm-roberta", {"type_vocab_size": 1}),
    "xlm-roberta that scores": (
        "XLMRobertaForSequenceClassification",
        "xlm-roberta",
        {"type_vocab_size": 1, "num_labels": 1},
    ),
    "modernbert": ("ModernBertModel", "modernbert", {"num_key_value_heads": 4}),
}

OLD_NAMES = (
    (r"backbone\.", "model."),
    (r"embed_tokens(?=\.)|embeddings\.weight$", "embed"),
    (r"block_sparse_moe", "mlp"),
    (r"experts\.\*\.(gate_proj|up_proj|w1|w3)\.weight|input_linear\.weight", "experts.gate_up_proj"),
    (r"experts\.\*\.(down_proj|w2)\.weight|output_linear\.weight", "experts.down_proj"),
    (r"shared_mlp\.experts\.", "shared_mlp."),
    (r"router\.(layer\.)?weight$", "router"),
    (r"mlp\.gate\.weight$", "mlp.router"),
    (r"norm_f", "norm"),
)
"""transformers 5 holds all experts in one tensor and has renamed a few things; the files kept their names."""


def folded(name: str) -> str:
    for old, new in OLD_NAMES:
        name = re.sub(old, new, name)
    return name


def config(model: str) -> dict[str, Any]:
    architecture, family, more = MODELS[model]
    return SMALL | more | {"architectures": [architecture], "model_type": family}


@pytest.fixture(scope="module")
def theirs() -> dict[str, dict[str, list[Any]]]:
    asked = json.dumps([config(model) for model in MODELS])
    done = subprocess.run(
        [PYTHON, str(ASK)], input=asked, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(MODELS, json.loads(done.stdout), strict=True))


def ours(weights: tuple[Weight, ...]) -> Iterator[tuple[str, Weight, int]]:
    for weight in weights:
        if weight.only != "card":
            numbers = weight.count * max(1, len(weight.layers))
            for size in weight.shape:
                numbers *= size
            yield folded(weight.name), weight, numbers


@pytest.mark.parametrize("model", MODELS)
def test_the_tensors_are_those_of_the_model_class(
    model: str, theirs: dict[str, dict[str, list[Any]]]
) -> None:
    facts = read(config(model), name=model)
    wanted: dict[str, int] = {}
    for name, (numbers, _) in theirs[model].items():
        wanted[folded(name)] = wanted.get(folded(name), 0) + numbers
    found: dict[str, int] = {}
    for name, _, numbers in ours(facts.weights):
        found[name] = found.get(name, 0) + numbers
    assert facts.known
    assert found == wanted
    assert parameters(facts) == sum(wanted.values())


@pytest.mark.parametrize("model", MODELS)
def test_a_tensor_of_the_same_name_has_the_same_shape(
    model: str, theirs: dict[str, dict[str, list[Any]]]
) -> None:
    facts = read(config(model), name=model)
    shapes = {name: sorted(shape) for name, (_, shape) in theirs[model].items()}
    for weight in facts.weights:
        if weight.name in shapes and model != "nemotron-h":
            assert sorted(weight.shape) == shapes[weight.name], weight.name
