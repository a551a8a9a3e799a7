"""The tensors of attention: one head beside the other (MHA, GQA, MQA), or one latent vector (MLA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from infctl.models import Attention, ModelFacts, Split, Weight
from infctl.models.inventory.traits import Traits, said


def matrix(
    name: str, out: int, into: int, *, split: Split = "even", bias: bool = False, bias_split: Split = "even"
) -> Iterator[Weight]:
    """A linear layer. The bias of one that is cut along its inputs stays whole: `bias_split` none."""
    yield Weight(f"{name}.weight", (out, into), split, packed=True)
    if bias:
        yield Weight(f"{name}.bias", (out,), bias_split)


def attention(
    at: str, layer: Attention, facts: ModelFacts, traits: Traits, config: Mapping[str, Any]
) -> Iterator[Weight]:
    """Of one layer; `at` is where it hangs: `model.layers.*.self_attn`."""
    queries = layer.heads * layer.head_dim
    keys = layer.kv_heads * layer.head_dim
    values = layer.kv_heads * (layer.value_dim or layer.head_dim)
    outputs = layer.heads * (layer.value_dim or layer.head_dim)
    bias = said(facts.family, traits.qkv_bias, config)
    if traits.fused_qkv:
        yield from matrix(f"{at}.{traits.fused_qkv}", queries + keys + values, facts.hidden, bias=bias)
    else:
        yield from matrix(f"{at}.q_proj", queries * (1 + traits.gated_queries), facts.hidden, bias=bias)
        yield from matrix(
            f"{at}.k_proj", keys, facts.hidden, split="kv_heads", bias=bias, bias_split="kv_heads"
        )
        yield from matrix(
            f"{at}.v_proj", values, facts.hidden, split="kv_heads", bias=bias, bias_split="kv_heads"
        )
    output_bias = said(facts.family, traits.output_bias, config)
    yield from matrix(f"{at}.{traits.output}", facts.hidden, outputs, bias=output_bias, bias_split="none")
    if traits.sinks:
        yield Weight(f"{at}.sinks", (layer.heads,), "even")
    if traits.qk_norm == "head":
        yield Weight(f"{at}.q_norm.weight", (layer.head_dim,))
        yield Weight(f"{at}.k_norm.weight", (layer.head_dim,))
    elif traits.qk_norm == "whole":
        yield Weight(f"{at}.q_norm.weight", (queries,))
        yield Weight(f"{at}.k_norm.weight", (keys,))


def latent_attention(at: str, facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    """MLA: keys and values, and with q_lora_rank queries too, go through a narrow vector all ranks hold.

    vLLM knows no biases here.
    """
    for weight in _latent(at, facts, config):
        yield replace(weight, only="file") if weight.name.endswith(".bias") else weight


def _latent(at: str, facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    heads, plain, values, rotary = facts.mla_heads
    queries, low = heads * (plain + rotary), config.get("q_lora_rank")
    rank = next(layer.attention.latent for layer in facts.layers if layer.attention.kind == "mla") - rotary
    bias = bool(config.get("attention_bias"))
    if low:
        yield from matrix(f"{at}.q_a_proj", low, facts.hidden, split="none", bias=bias, bias_split="none")
    else:
        yield from matrix(f"{at}.q_proj", queries, facts.hidden)
    down = f"{at}.kv_a_proj_with_mqa"
    yield from matrix(down, rank + rotary, facts.hidden, split="none", bias=bias, bias_split="none")
    if low:
        yield Weight(f"{at}.q_a_layernorm.weight", (low,))
        yield from matrix(f"{at}.q_b_proj", queries, low)
    yield Weight(f"{at}.kv_a_layernorm.weight", (rank,))
    yield from matrix(f"{at}.kv_b_proj", heads * (plain + values), rank)
    yield from matrix(f"{at}.o_proj", facts.hidden, heads * values, bias=bias, bias_split="none")
