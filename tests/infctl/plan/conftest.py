"""Models as their config.json says them, cards, and profiles in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from infctl.gpus import CATALOGUE, Gpu
from infctl.models import ModelFacts
from infctl.models.config import facts as read_facts
from infctl.plan import Plan, plan
from infctl.profile.schema import Profile

QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584,
    "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "vocab_size": 152064, "max_position_embeddings": 32768, "torch_dtype": "bfloat16",
    "tie_word_embeddings": False, "sliding_window": 131072, "use_sliding_window": False,
}  # fmt: skip
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 128256, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}  # fmt: skip
QWEN_05B = QWEN_7B | {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
QWEN_EMBEDDING = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024,
    "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
    "head_dim": 128, "vocab_size": 151669, "max_position_embeddings": 32768, "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
}  # fmt: skip
XLM_R = {
    "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "hidden_size": 1024,
    "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "vocab_size": 250002,
    "max_position_embeddings": 8194, "type_vocab_size": 1, "pad_token_id": 1, "torch_dtype": "float32",
    "hidden_act": "gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "qwen-7b": QWEN_7B,
    "llama-8b": LLAMA_8B,
    "qwen-0.5b": QWEN_05B,
    "qwen-embedding": QWEN_EMBEDDING,
    "xlm-r": XLM_R,
    "bge-reranker": XLM_R | {"architectures": ["XLMRobertaForSequenceClassification"]},
}


@cache
def facts_of(kind: str) -> ModelFacts:
    found = read_facts(CONFIGS[kind], name=kind)
    # float32 checkpoints are served as float16.
    return replace(found, dtype="float16") if found.dtype == "float32" else found


def cards(text: str) -> tuple[Gpu, ...]:
    """`4xL4`, `1xH100, 2xL4`."""
    parts = [part.partition("x") for part in text.replace(", ", ",").split(",")]
    names = [name.strip() for count, _, name in parts for _ in range(int(count))]
    return tuple(Gpu(n, name, f"GPU-{n:08d}", CATALOGUE[name]) for n, name in enumerate(names))


def profile(models: Mapping[str, Mapping[str, Any]], gpus: str = "detect") -> Profile:
    """`source` names one of CONFIGS; a task follows from it."""
    full = {}
    for name, model in models.items():
        kind = str(model.get("source", "qwen-7b"))
        task = {"xlm-r": "embed", "qwen-embedding": "embed", "bge-reranker": "rerank"}.get(kind, "chat")
        full[name] = {"task": task} | dict(model) | {"source": f"org/{kind}"}
    return Profile.model_validate({"name": "p", "gpus": gpus, "models": full})


def facts_for(found: Profile) -> dict[str, ModelFacts]:
    kinds = {name: str(model.source.hub).removeprefix("org/") for name, model in found.models.items()}
    return {name: facts_of(kind) for name, kind in kinds.items() if kind in CONFIGS}


def make(models: Mapping[str, Mapping[str, Any]], gpus: str = "4xL4", **more: Any) -> Plan:
    found = profile(models)
    return plan(found, cards(gpus), facts_for(found), **more)


@pytest.fixture(scope="session")
def planned() -> Callable[..., Plan]:
    """Models by name, cards as `4xL4` -> Plan."""
    return make


@pytest.fixture(scope="session")
def builders() -> Any:
    """(profile, cards, facts_for): for what `planned` does not say."""
    return profile, cards, facts_for
