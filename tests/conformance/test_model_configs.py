"""What we read out of a config is what vLLM reads: sizes, heads, context, dtype, the kind of each layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from infctl.models import Attention, ModelFacts
from infctl.models.config import Beside, facts
from infctl.models.known import known, known_beside, names
from tests.examples import examples

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

PYTHON = os.environ.get("INFCTL_VLLM_PYTHON", sys.executable)
ASK = Path(__file__).with_name("vllm_configs.py")

Config = dict[str, Any]

FAMILIES: dict[str, tuple[str, Config]] = {
    "llama": ("LlamaForCausalLM", {}),
    "mistral": ("MistralForCausalLM", {}),
    "ministral": ("MinistralForCausalLM", {}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {}),
    "qwen2_moe": ("Qwen2MoeForCausalLM", {}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", {}),
    "qwen3_next": ("Qwen3NextForCausalLM", {}),
    "gemma2": ("Gemma2ForCausalLM", {}),
    "gemma3_text": ("Gemma3ForCausalLM", {}),
    "phi3": ("Phi3ForCausalLM", {}),
    "phimoe": ("PhiMoEForCausalLM", {}),
    "granite": ("GraniteForCausalLM", {}),
    "granitemoe": ("GraniteMoeForCausalLM", {}),
    "granitemoehybrid": ("GraniteMoeHybridForCausalLM", {"mamba_n_heads": 16}),
    "cohere": ("CohereForCausalLM", {}),
    "cohere2": ("Cohere2ForCausalLM", {}),
    "olmo2": ("Olmo2ForCausalLM", {}),
    "olmo3": ("Olmo3ForCausalLM", {}),
    "starcoder2": ("Starcoder2ForCausalLM", {}),
    "smollm3": ("SmolLM3ForCausalLM", {}),
    "glm4": ("Glm4ForCausalLM", {}),
    "mixtral": ("MixtralForCausalLM", {}),
    "gpt_oss": ("GptOssForCausalLM", {}),
    "deepseek_v2": ("DeepseekV2ForCausalLM", {"num_experts_per_tok": 6}),
    "deepseek_v3": ("DeepseekV3ForCausalLM", {}),
    "bert": ("BertModel", {}),
    "xlm-roberta": ("XLMRobertaForSequenceClassification", {}),
    "modernbert": ("ModernBertModel", {}),
}
WINDOWED = {"mistral", "ministral", "phi3", "phimoe", "starcoder2", "mixtral", "gemma2", "gemma3_text"}
WINDOWED |= {"cohere2", "olmo3", "gpt_oss"}
SWITCHED = {"qwen2", "qwen3", "qwen3_moe"}
"""A window only where `use_sliding_window` says so."""
ROTARY: tuple[Config, ...] = (
    {},
    {"rope_type": "linear", "factor": 4.0},
    {"type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 2048},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 2048},
)  # fmt: skip


def config_of(rng: Random, family: str) -> Config:
    architecture, more = FAMILIES[family]
    heads = rng.choice((4, 8, 16))
    layers = rng.randint(1, 24)
    config: Config = {
        "architectures": [architecture],
        "model_type": family,
        "hidden_size": heads * rng.choice((32, 64, 96)),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": rng.choice((1, 2, heads)),
        "intermediate_size": 1024,
        "vocab_size": rng.choice((1000, 32_000, 50_257)),
        rng.choice(("dtype", "torch_dtype")): rng.choice(("bfloat16", "float16", "float32")),
    } | more
    if rng.random() < 0.7:
        config["max_position_embeddings"] = rng.choice((512, 4096, 32_768))
    if rng.random() < 0.3:
        config["head_dim"] = rng.choice((64, 128))
    if rng.random() < 0.5:
        config["tie_word_embeddings"] = rng.random() < 0.5
    if family in WINDOWED and rng.random() < 0.7:
        config["sliding_window"] = rng.choice((None, 128, 4096)) if family in {"mistral", "phi3"} else 512
    if family in SWITCHED and rng.random() < 0.6:
        first = rng.choice((0, layers))
        config |= {
            "use_sliding_window": rng.random() < 0.5,
            "max_window_layers": first,
            "sliding_window": 256,
        }
    if family == "gemma3_text" and rng.random() < 0.5:
        config["sliding_window_pattern"] = rng.randint(1, 7)
    if family == "qwen3_next" and rng.random() < 0.5:
        config["full_attention_interval"] = rng.randint(1, 6)
    if family == "granitemoehybrid":
        config["layer_types"] = [rng.choice(("mamba", "attention")) for _ in range(layers)]
    if family in {"llama", "qwen2", "granite", "olmo2"} and (rope := rng.choice(ROTARY)):
        config |= {"rope_theta": 10_000.0, "rope_scaling": rope}
    return config


def _case(config: Config, beside: Beside) -> tuple[dict[str, Any], ModelFacts]:
    read = facts(config, name="a model", beside=beside)
    files = {"max_seq_length": beside.max_seq_length, "tokenizer_max_length": beside.tokenizer_max_length}
    return {"config": config, "pooling": read.pooling, "beside": files}, read


def _cases() -> list[tuple[dict[str, Any], ModelFacts]]:
    made = [_case(dict(known(hub_id) or {}), known_beside(hub_id)) for hub_id in names()]
    rng = Random(20)
    families = list(FAMILIES)
    return made + [
        _case(config_of(rng, families[number % len(families)]), Beside()) for number in range(examples(290))
    ]


def _word(layer: Attention) -> str:
    words = {"full": "full_attention", "mla": "full_attention", "sliding": "sliding_attention"}
    return words.get(layer.kind, "chunked_attention" if layer.kind == "chunked" else "linear_attention")


def _ours(read: ModelFacts, theirs: dict[str, Any]) -> dict[str, Any]:
    with_heads = [layer.attention for layer in read.layers if layer.attention.kind != "state"]
    one = with_heads[0] if with_heads else None
    ours = {
        "layers": len(read.layers),
        "hidden": read.hidden,
        "vocab": read.vocab,
        "head": (one.latent or one.head_dim) if one else theirs["head"],
        "kv_heads": one.kv_heads if one else theirs["kv_heads"],
        "mla": one is not None and one.kind == "mla",
        "quantized": read.quantization is not None,
        "default_context": read.default_context or read.context,
        "dtype": read.dtype,
        "tied": read.tied_embeddings,
    }
    if not read.encoder_only:
        ours["layer_types"] = [_word(layer.attention) for layer in read.layers]
        windows = {layer.window for layer in with_heads if layer.kind == "sliding"}
        ours["window"] = windows.pop() if windows else None
    return ours


def _expected(read: ModelFacts, theirs: dict[str, Any]) -> dict[str, Any]:
    """As the model's code in vLLM takes it, where that differs from its config."""
    expected = dict(theirs)
    same = {"mamba": "linear_attention", "attention": "full_attention"}
    types = expected["layer_types"] or ["sliding_attention" if theirs["window"] else "full_attention"] * len(
        read.layers
    )
    expected["layer_types"] = [same.get(word, word) for word in types]
    if read.family == "gpt_oss":  # by the layer's number
        expected["layer_types"] = [
            ("full_attention" if layer % 2 else "sliding_attention") for layer in range(len(read.layers))
        ]
    if "sliding_attention" not in expected["layer_types"]:
        expected["window"] = None
    elif read.family == "cohere2":  # sees itself besides
        expected["window"] += 1
    if read.encoder_only:
        del expected["window"], expected["layer_types"]
    return expected


def test_every_config_reads_as_in_vllm() -> None:
    """Well-known ones and random ones of every family."""
    cases = _cases()
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    answer = subprocess.run(
        [PYTHON, str(ASK)],
        input=json.dumps([case for case, _ in cases]),
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stderr[-4000:]
    replies = json.loads(answer.stdout.splitlines()[-1])
    assert len(replies) == len(cases)
    for (case, read), theirs in zip(cases, replies, strict=True):
        assert _ours(read, theirs) == _expected(read, theirs), json.dumps(case)
