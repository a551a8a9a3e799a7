"""The tensors of layers that keep a state instead of a cache: gated delta nets and mambas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from infctl.models import ModelFacts, StateCache, Weight
from infctl.models.inventory.attention import matrix

_PLACES = {"gdn": "linear_attn", "mamba1": "mixer", "mamba2": "mamba"}


def state(at: str, cache: StateCache, facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    """Of one layer; `at` is the layer: `model.layers.*`."""
    here = f"{at}.{_PLACES.get(cache.kind, cache.kind)}"
    if cache.kind == "gdn":
        yield from _delta_net(here, cache, facts)
    elif cache.kind == "mamba1":
        yield from _mamba1(here, cache, facts, config)
    elif cache.kind == "mamba2":
        mixer = here if facts.family in {"bamba", "granitemoehybrid", "falcon_h1"} else f"{at}.mixer"
        yield from _mamba2(mixer, cache, facts, config)
    else:
        # Short convolutions and plain linear attention: in and out, as wide as the model.
        yield from matrix(f"{here}.in_proj", 3 * facts.hidden, facts.hidden)
        yield from matrix(f"{here}.out_proj", facts.hidden, facts.hidden)


def _delta_net(at: str, cache: StateCache, facts: ModelFacts) -> Iterator[Weight]:
    keys, values = cache.groups * cache.state, cache.heads * cache.head_dim
    yield Weight(f"{at}.conv1d.weight", (2 * keys + values, 1, cache.conv_kernel), "even")
    if facts.family == "qwen3_next":
        yield from matrix(f"{at}.in_proj_qkvz", 2 * keys + 2 * values, facts.hidden)
        yield from matrix(f"{at}.in_proj_ba", 2 * cache.heads, facts.hidden)
    else:
        yield from matrix(f"{at}.in_proj_qkv", 2 * keys + values, facts.hidden)
        yield from matrix(f"{at}.in_proj_z", values, facts.hidden)
        yield from matrix(f"{at}.in_proj_b", cache.heads, facts.hidden)
        yield from matrix(f"{at}.in_proj_a", cache.heads, facts.hidden)
    yield Weight(f"{at}.dt_bias", (cache.heads,), "even")
    yield Weight(f"{at}.A_log", (cache.heads,), "even")
    yield Weight(f"{at}.norm.weight", (cache.head_dim,))
    yield from matrix(f"{at}.out_proj", facts.hidden, values)


def _mamba2(at: str, cache: StateCache, facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    inner = cache.inner or cache.heads * cache.head_dim
    channels = inner + 2 * cache.groups * cache.state
    bias = bool(config.get("mamba_proj_bias", config.get("use_bias")))
    yield Weight(f"{at}.conv1d.weight", (channels, 1, cache.conv_kernel), "even")
    if config.get("mamba_conv_bias", config.get("use_conv_bias", True)):
        yield Weight(f"{at}.conv1d.bias", (channels,), "even")
    yield from matrix(f"{at}.in_proj", inner + channels + cache.heads, facts.hidden, bias=bias)
    yield Weight(f"{at}.A_log", (cache.heads,), "even", dtype="float32")
    yield Weight(f"{at}.D", (cache.heads,), "even")
    yield Weight(f"{at}.dt_bias", (cache.heads,), "even")
    yield from matrix(f"{at}.out_proj", facts.hidden, inner, bias=bias, bias_split="none")
    if facts.family != "falcon_h1" or config.get("mamba_rms_norm"):
        yield Weight(f"{at}.norm.weight", (inner,), "even")


def _mamba1(at: str, cache: StateCache, facts: ModelFacts, config: Mapping[str, Any]) -> Iterator[Weight]:
    rank = config.get("time_step_rank", config.get("mamba_dt_rank"))
    rank = rank if isinstance(rank, int) else ceil(facts.hidden / 16)
    bias = bool(config.get("use_bias"))
    yield Weight(f"{at}.conv1d.weight", (cache.inner, 1, cache.conv_kernel), "even")
    if config.get("use_conv_bias", True):
        yield Weight(f"{at}.conv1d.bias", (cache.inner,), "even")
    yield from matrix(f"{at}.in_proj", 2 * cache.inner, facts.hidden, bias=bias)
    yield from matrix(f"{at}.x_proj", rank + 2 * cache.state, cache.inner)
    yield from matrix(f"{at}.dt_proj", cache.inner, rank, bias=True)
    yield Weight(f"{at}.A_log", (cache.inner, cache.state), "even", dtype="float32")
    yield Weight(f"{at}.D", (cache.inner,), "even")
    yield from matrix(f"{at}.out_proj", facts.hidden, cache.inner, bias=bias, bias_split="none")
