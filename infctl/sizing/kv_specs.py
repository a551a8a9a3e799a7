"""Layers -> what vLLM calls a KVCacheSpec: one rank's share of one layer's cache, as bytes a block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from infctl.models import Attention, AttentionKind, ModelFacts, StateCache
from infctl.sizing import Resolved, Vllm
from infctl.sizing.kv_state import element_bytes, state_shape
from infctl.sizing.rank import stages

CacheKind = Literal["full", "mla", "sliding", "chunked", "state"]
"""full, mla: of the whole context. sliding, chunked: of `window` tokens. state: of fixed size."""

Ranks = tuple[tuple["LayerSpec", ...], ...]
"""The layers that keep a cache, in the model's order, by pipeline rank."""

_BY_TOKENS: dict[AttentionKind, CacheKind] = {
    "full": "full",
    "mla": "mla",
    "sliding": "sliding",
    "chunked": "chunked",
}

_BLOCK, _CPU_BLOCK = 16, 128
_HOPPER, _BLACKWELL = 9, 10


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer's cache on one tensor-parallel rank. Two layers share a group only where these are equal."""

    kind: CacheKind
    block_size: int
    """Tokens."""
    content_bytes: int
    """What a block holds."""
    shape: tuple[int, ...] = ()
    """What makes two caches of the same size different ones: heads, widths, bytes a number."""
    window: int | None = None
    """Tokens; sliding and chunked only, also after they were made full."""
    padded_bytes: int | None = None
    """What a block takes, where another kind of layer has larger ones."""

    @property
    def page_bytes(self) -> int:
        """What a block of this layer takes in the pool."""
        return self.content_bytes if self.padded_bytes is None else self.padded_bytes

    def resized(self, block_size: int) -> LayerSpec:
        """The same cache in blocks of another number of tokens. Not for states, whose size is fixed."""
        content = self.content_bytes // self.block_size * block_size
        return replace(self, block_size=block_size, content_bytes=content)


def block_size(
    facts: ModelFacts,
    asked: int | None,
    vllm: Vllm,
    *,
    cpu: bool,
    capability: int | None = None,
    fp8: bool = False,
) -> int:
    """Tokens a block before hybrid models enlarge it.

    On CUDA the backends that vLLM prefers take multiples of 16, so its default stays; those for MLA do not on
    every card. On a CPU it is 128, and MLA runs on blocks of 16 alone, whatever was asked.
    `capability`: the card's major compute capability, None: not known. `fp8`: the cache's numbers.
    """
    mla = any(layer.attention.kind == "mla" for layer in facts.layers)
    if cpu and mla and vllm != "0.25":
        return 16
    if asked or cpu:
        return asked or _CPU_BLOCK
    return _mla_block(capability, fp8=fp8) if mla else _BLOCK


def _mla_block(capability: int | None, *, fp8: bool) -> int:
    if capability == _BLACKWELL:
        return 32  # FlashInfer's, of 32 or 64
    # FlashAttention's has no fp8, FlashMLA is next and takes 64. Older cards run Triton's, which takes any.
    return 64 if capability == _HOPPER and fp8 else _BLOCK


def specs(facts: ModelFacts, resolved: Resolved) -> Ranks:
    """One tuple a pipeline rank; a layer that keeps no cache of its own is left out."""
    attentions = [layer.attention for layer in facts.layers]
    tokens, page = _hybrid_block(attentions, resolved)
    per_layer = [tuple(_caches(attention, resolved, tokens, page)) for attention in attentions]
    return tuple(
        tuple(chain.from_iterable(per_layer[layer] for layer in stage))
        for stage in stages(len(per_layer), resolved.pipeline_parallel)
    )


def _caches(attention: Attention, resolved: Resolved, tokens: int, page: int | None) -> Iterator[LayerSpec]:
    """None, one, or both a cache of tokens and a state: Falcon H1 runs the two side by side in one layer."""
    kind = _BY_TOKENS.get(attention.kind)
    if kind is not None:
        shape = _widths(attention, resolved)
        window = attention.window if kind in {"sliding", "chunked"} else None
        yield LayerSpec(kind, tokens, tokens * _token_bytes(shape), shape, window)
    if attention.state is not None:
        yield _state(attention.state, resolved, tokens, page)


def _state(state: StateCache, resolved: Resolved, tokens: int, page: int | None) -> LayerSpec:
    shape = state_shape(state, resolved.dtype, resolved.tensor_parallel)
    # With prefix caching a state is kept at each block's end ("align"), else one for the whole request.
    span = tokens if resolved.prefix_caching else resolved.max_model_len
    padded = page if page != sum(shape) else None
    return LayerSpec("state", span, sum(shape), shape, None, padded)


def _widths(attention: Attention, resolved: Resolved) -> tuple[int, ...]:
    """(heads, numbers a key, numbers a value, bytes a number) on one rank."""
    width = element_bytes(resolved.kv_dtype)
    if attention.kind == "mla":
        return 1, attention.latent, 0, width  # one latent vector, whole on every rank
    heads = max(1, attention.kv_heads // resolved.tensor_parallel)
    return heads, attention.head_dim, attention.value_dim or attention.head_dim, width


def _token_bytes(shape: tuple[int, ...]) -> int:
    heads, key, value, width = shape
    return heads * (key + value) * width


def _hybrid_block(attentions: list[Attention], resolved: Resolved) -> tuple[int, int | None]:
    """(tokens a block, bytes of the page that states are padded to).

    A pool has pages of one size. In a model with both, blocks of attention grow until one holds a state.
    """
    states = [a.state for a in attentions if a.state is not None]
    attention = next((a for a in attentions if a.kind in _BY_TOKENS), None)
    tokens = resolved.block_size
    if not states or attention is None:
        return tokens, None
    largest = max(sum(state_shape(state, resolved.dtype, resolved.tensor_parallel)) for state in states)
    # vLLM takes values as wide as keys here, whatever the layer says.
    token_bytes = _token_bytes(_widths(replace(attention, value_dim=attention.head_dim), resolved))
    step = max(16, tokens)
    if attention.kind == "mla" and resolved.vllm != "0.25":
        step = max(step, 128)
    needed = step * -(-largest // (step * token_bytes))
    tokens = max(tokens, 16 * -(-needed // 16))
    return tokens, tokens * token_bytes
