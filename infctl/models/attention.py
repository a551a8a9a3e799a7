"""The `Attention` of every layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from infctl.models import Attention, StateCache
from infctl.models.families import Family
from infctl.models.layer_kinds import Kind, layer_kinds, layer_words
from infctl.models.reader import CONTEXT_MAX, HEADS_MAX, LAYERS_MAX, WIDTH_MAX, Reader
from infctl.models.state import state_cache

MLA_FAMILIES = frozenset(
    {
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "kimi_k2",
        "kimi_linear",
        "glm4_moe_lite",
        "glm_moe_dsa",
        "longcat_flash",
        "pangu_ultra_moe",
    }
)
"""Where vLLM keeps one latent vector a token, if kv_lora_rank is written."""


@dataclass(frozen=True, slots=True)
class Heads:
    query: int
    kv: int
    dim: int


def attention(
    config: Reader, family: Family, family_name: str, hidden: int, layers: int
) -> tuple[Attention, ...]:
    """One a layer, whole. Complaints go to the reader."""
    if family.kinds == "state":
        return (Attention("state", state=state_cache(config, family, hidden)),) * layers
    words = layer_words(config, family, layers)
    kinds = layer_kinds(config, family, words, layers)
    if family.kinds == "encoder" or not config.flag("is_causal", default=True) or _bidirectional(config):
        heads = _heads(config, hidden)
        return (Attention("encoder", heads.query, heads.kv, heads.dim, heads.dim),) * layers
    if _is_mla(config, family, family_name):
        return (_mla(config),) * layers
    heads = _heads(config, hidden)
    state = state_cache(config, family, hidden) if {"state", "both"} & set(kinds) else None
    made = {kind: _one(kind, config, family, heads, state) for kind in set(kinds)}
    return _shared(config, tuple(made[kind] for kind in kinds))


def _one(kind: Kind, config: Reader, family: Family, heads: Heads, state: StateCache | None) -> Attention:
    if kind == "state":
        return Attention("state", state=state)
    if kind == "none":
        return Attention("none")
    full = Attention("full", heads.query, heads.kv, heads.dim, heads.dim)
    if kind == "sliding":
        window = config.count("sliding_window", most=CONTEXT_MAX, least=0)
        return replace(full, kind="sliding", window=window + family.window_extra) if window else full
    if kind == "chunked":
        return replace(full, kind="chunked", window=config.count("attention_chunk_size", most=CONTEXT_MAX))
    return replace(full, state=state) if kind == "both" else full


def _heads(config: Reader, hidden: int) -> Heads:
    query = config.count("num_attention_heads", "n_head", "n_heads", most=HEADS_MAX)
    kv = (
        1
        if config.tree.get("multi_query") is True
        else config.count(
            "num_key_value_heads",
            "num_kv_heads",
            "n_head_kv",
            "multi_query_group_num",
            most=HEADS_MAX,
            default=query,
        )
    )
    if config.sound("num_attention_heads", "num_key_value_heads") and query % kv:
        config.wrong(
            "num_key_value_heads"
            if config.tree.get("num_key_value_heads") is not None
            else "num_attention_heads",
            f"{query:,} attention heads cannot share {kv:,} key-value heads evenly",
            f"a divisor of {query:,}",
        )
    if config.get("head_dim") is not None:
        return Heads(query, kv, config.count("head_dim", most=WIDTH_MAX))
    if config.get("hidden_size_per_head") is not None:
        return Heads(query, kv, config.count("hidden_size_per_head", most=WIDTH_MAX))
    if query > hidden and config.sound("num_attention_heads", "hidden_size"):
        config.wrong("head_dim", f"is missing, and hidden_size {hidden:,} has no room for {query:,} heads")
    return Heads(query, kv, max(1, hidden // query))


def _is_mla(config: Reader, family: Family, family_name: str) -> bool:
    if config.get("kv_lora_rank") is None:
        return False
    return family.mla or family_name in MLA_FAMILIES


def mla_heads(config: Reader) -> tuple[int, int, int, int]:
    """Heads, then the sizes of one: nope, value, rope."""
    return (
        config.count("num_attention_heads", most=HEADS_MAX),
        config.count("qk_nope_head_dim", most=WIDTH_MAX),
        config.count("v_head_dim", most=WIDTH_MAX),
        config.count("qk_rope_head_dim", most=WIDTH_MAX),
    )


def _mla(config: Reader) -> Attention:
    heads, nope, value, rope = mla_heads(config)
    latent = config.count("kv_lora_rank", most=WIDTH_MAX) + rope
    return Attention("mla", heads, 1, nope + rope, value, latent=latent)


def _bidirectional(config: Reader) -> bool:
    """EmbeddingGemma: every token sees every other, so nothing is kept."""
    return config.get("use_bidirectional_attention") is True


def _shared(config: Reader, layers: tuple[Attention, ...]) -> tuple[Attention, ...]:
    """Gemma 3n: the last layers read the cache of an earlier one."""
    shared = config.maybe("num_kv_shared_layers", most=LAYERS_MAX, least=0) or 0
    if shared >= len(layers) and shared:
        config.wrong("num_kv_shared_layers", f"{shared:,} of {len(layers):,} layers", "fewer than all")
        return layers
    own = len(layers) - shared
    return layers[:own] + tuple(replace(layer, kind="shared") for layer in layers[own:])
