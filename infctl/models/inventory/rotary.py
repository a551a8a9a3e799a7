"""The tables of rotary embeddings. vLLM computes one for each distinct rotation and keeps it on the card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infctl.models import ModelFacts, Weight

TABLE = "rotary_emb.cos_sin_cache"


_SHARES = {
    "qwen3_next": 0.25,
    "qwen3_5_text": 0.25,
    "qwen3_5_moe_text": 0.25,
    "glm": 0.5,
    "glm4": 0.5,
    "glm4_moe": 0.5,
}
"""How much of a head turns, where the config does not say."""


def table(index: int, facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    """The one a layer uses, if any: rows are positions, columns sines and cosines."""
    part = facts.layers[index].attention
    if part.kind in {"state", "none"} or not part.heads or not _turns(facts, config):
        return
    own = facts.family in _TWO_ROTATIONS
    turn = ("sliding" if part.kind == "sliding" else "full") if own else "one"
    scaling = _scaling(config, part.kind if own else "")
    share = scaling.get(
        "partial_rotary_factor", config.get("partial_rotary_factor", _SHARES.get(facts.family))
    )
    width = facts.mla_heads[3] if part.kind == "mla" else part.head_dim
    if part.kind != "mla" and isinstance(share, float) and 0 < share < 1:
        width = int(width * share)
    local = own and part.kind == "sliding" and "rope_parameters" not in config
    rows, dtype = _rows({} if local else scaling, facts, config)
    yield Weight(f"{facts.family}.{turn}.{TABLE}", (rows, width), dtype=dtype, only="card")


def _turns(facts: ModelFacts, config: Mapping[str, Any]) -> bool:
    """Some models know positions by other means, or by none."""
    if facts.family == "granitemoehybrid":
        return config.get("position_embedding_type") == "rope"
    return config.get("position_embedding_type") not in {"absolute", "nope"}


_TWO_ROTATIONS = frozenset({"gemma3_text", "gemma3", "gemma3n_text", "gemma3n", "modernbert"})
"""Layers that look through a window turn by another base than those that see everything."""


def _scaling(config: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """rope_scaling, or rope_parameters as newer configs write it: for all layers, or one for each kind."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if isinstance(found, Mapping) and kind:
        word = "sliding_attention" if kind == "sliding" else "full_attention"
        found = found.get(word, found)
    return found if isinstance(found, Mapping) else {}


def _rows(scaling: Mapping[str, Any], facts: ModelFacts, config: Mapping[str, Any]) -> tuple[int, str]:
    """Positions of the table, and its dtype where it is not the model's."""
    positions = _whole(config.get("max_position_embeddings")) or facts.context
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    original = _whole(scaling.get("original_max_position_embeddings")) or positions
    factor = scaling.get("factor", 1.0)
    factor = factor if isinstance(factor, int | float) and factor > 0 else 1.0
    if facts.family == "gpt_oss":
        return int(original * factor) if scaling else 131_072, "float32"
    if kind in {"yarn", "deepseek_yarn"}:
        # MLA's rotation goes through FlashInfer, which wants float32.
        return int(original * factor), "float32" if any(facts.mla_heads) else ""
    if kind in {"linear", "dynamic"}:
        return int(positions * factor), ""
    if kind in {"longrope", "su"}:
        short = _whole(config.get("original_max_position_embeddings")) or original
        return positions + short, ""
    # Pictures take several positions of a kind at once: vLLM keeps room for four times as many.
    return positions * (4 if "mrope_section" in scaling else 1), ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
