"""How many tokens a model takes at most, as vLLM 0.32 derives it from the config and the files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infctl.models.reader import CONTEXT_MAX, Reader

WITHOUT_ANY_KEY = 2_048
"""Tokens: what vLLM takes where a config says nothing."""

_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_SCALED_ALREADY = frozenset(
    {"default", "su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope"}
)
"""Rotary scalings whose factor max_position_embeddings contains already."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What files beside config.json say; None: not there, or not looked at."""

    max_seq_length: int | None = None
    """Tokens, from sentence_bert_config.json and its like."""
    tokenizer_max_length: int | None = None
    """Tokens, from tokenizer_config.json (`model_max_length`)."""
    pooling: bool | None = None
    """modules.json is there: vLLM serves it as a pooling model whatever its architecture is."""
    quantization: Mapping[str, Any] | None = None
    """hf_quant_config.json, where older ModelOpt checkpoints say what config.json does not."""


@dataclass(frozen=True, slots=True)
class Context:
    most: int
    default: int
    """Where max_model_len is left open. Less than `most` for LongRoPE only."""
    assumed: bool = False
    """No key said it."""


def context(config: Reader, family_name: str, beside: Beside, *, pooling: bool) -> Context:
    found = [value for key in _KEYS if (value := config.maybe(key, most=CONTEXT_MAX)) is not None]
    if (written := config.maybe("model_max_length", most=CONTEXT_MAX)) is not None:
        found = [written]
    absolute = config.get("position_embedding_type") == "absolute"
    if pooling and absolute and beside.tokenizer_max_length:
        found = [min([*found, beside.tokenizer_max_length])]
    assumed = not found
    most = min(found, default=WITHOUT_ANY_KEY)
    if "gemma3" not in family_name:  # theirs is scaled already
        most = int(most * _scale(config))
    if beside.max_seq_length:
        most = beside.max_seq_length
    default = most
    if "longrope" in _rope_types(config):
        default = config.maybe("original_max_position_embeddings", most=CONTEXT_MAX) or most
    return Context(min(most, CONTEXT_MAX), min(default, CONTEXT_MAX), assumed)


def ropes(config: Reader) -> list[Reader]:
    """One, or one a kind of layer (Gemma 3, ModernBERT in their newer spelling)."""
    key = "rope_parameters" if config.get("rope_parameters") is not None else "rope_scaling"
    rope = config.below(key)
    if rope is None or not rope.tree:
        return []
    nested = [name for name, value in rope.tree.items() if isinstance(value, dict) and "attention" in name]
    return [one for name in nested if (one := rope.below(name)) is not None] or [rope]


def _rope_types(config: Reader) -> set[str]:
    return {_rope_type(rope) for rope in ropes(config)}


def _rope_type(rope: Reader) -> str:
    written = rope.text("rope_type") or rope.text("type", "default")
    return {"su": "longrope", "mrope": "default", "telechat3-yarn": "yarn"}.get(written, written)


def _scale(config: Reader) -> float:
    """`linear` and `dynamic` multiply; the others are contained in the number already."""
    scale = 1.0
    for rope in ropes(config):
        if _rope_type(rope) not in _SCALED_ALREADY:
            scale = rope.number("factor", scale)
    return scale
