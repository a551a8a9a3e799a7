"""One pass of a full batch through the layers: what is alive at each moment of it.

Read from vLLM's model code, where a tensor lives as long as a local variable of some caller names it. T is
max_num_batched_tokens, H hidden, I the width of the feed-forward.
"""

from __future__ import annotations

from collections.abc import Iterator

from infctl.models import Attention, FeedForward, Layer, ModelFacts
from infctl.sizing import Card, Resolved
from infctl.sizing.hardware import generation
from infctl.sizing.packing import bytes_of, method

_REUSES_NAME = {"llama", "mistral", "phi3"}
"""Families whose feed-forward gives its result the name of what it came from, which frees that sooner."""

_MLA_CONTEXT_TOKENS = 64 * 1024
"""The most context tokens that vLLM expands at a time out of MLA's latent vectors."""


def number_bytes(resolved: Resolved) -> int:
    """Of one activation."""
    return bytes_of(resolved.dtype)


def forward(facts: ModelFacts, resolved: Resolved, card: Card) -> int:
    """Bytes at the worst moment of all layers, without the matrix products' workspace."""
    alive = {layer: max(_moments(facts, resolved, layer), default=0) for layer in set(facts.layers)}
    peak = held = 0
    for layer in facts.layers:
        peak = max(peak, held + alive[layer])
        held = max(held, kept(layer.feed_forward, facts, resolved, card))
        peak = max(peak, held + _routed(facts, resolved, layer.feed_forward, card))
    return peak


def kept(part: FeedForward, facts: ModelFacts, resolved: Resolved, card: Card) -> int:
    """Bytes of the experts' workspace: it stays once the first layer with experts has run."""
    if not part.experts or _transient(facts, card):
        return 0
    width = _expert_width(part, resolved)
    rows = resolved.max_num_batched_tokens * part.experts_per_token
    each = max(width, facts.hidden) + max(2 * width, facts.hidden)
    return rows * each * number_bytes(resolved)


def _transient(facts: ModelFacts, card: Card) -> bool:
    """MXFP4 on Hopper runs in Triton kernels that allocate and free for themselves."""
    quantization = facts.quantization
    return quantization is not None and quantization.method == "mxfp4" and generation(card) == "hopper"


def _eight_bit_inputs(facts: ModelFacts, resolved: Resolved) -> bool:
    """Whether products take their inputs in one byte, which eager code copies them to."""
    how = method(facts, resolved)
    return how is not None and (how.method == "fp8" or (how.method == "compressed-tensors" and how.bits == 8))


def _expert_width(part: FeedForward, resolved: Resolved) -> int:
    return part.expert_width if resolved.expert_parallel else part.expert_width // resolved.tensor_parallel


def _routed(facts: ModelFacts, resolved: Resolved, part: FeedForward, card: Card) -> int:
    """Bytes while the experts run: states, the experts' sum, router logits, and what is not kept."""
    if not part.experts:
        return 0
    shared = facts.hidden if part.dense else 0
    numbers = 4 * facts.hidden + shared + 2 * part.experts
    if _transient(facts, card):
        numbers += part.experts_per_token * (_expert_width(part, resolved) + facts.hidden)
    return resolved.max_num_batched_tokens * numbers * number_bytes(resolved)


def _moments(facts: ModelFacts, resolved: Resolved, layer: Layer) -> Iterator[int]:
    """Bytes at the moments of one layer that do not depend on the experts."""
    token = resolved.max_num_batched_tokens * number_bytes(resolved)
    if layer.feed_forward.dense:
        yield token * _dense(facts, resolved, layer)
    attention = layer.attention
    if attention.kind == "mla":
        yield token * _latent(facts, resolved, attention) + _expanded(facts, resolved)
    elif attention.kind == "state":
        yield token * _state(facts, resolved, attention)
    elif attention.heads:
        yield token * _attention(facts, resolved, attention)


def _dense(facts: ModelFacts, resolved: Resolved, layer: Layer) -> int:
    """Numbers a token: gate and up, their product, and the states around them.

    Eager code holds the layer's input, the residual, the normed states and, while the last product still
    holds its first operand's source, the result. Gemma's norms write a residual of their own. Compiled code
    frees the result's place earlier.
    """
    part = layer.feed_forward
    width = part.dense // resolved.tensor_parallel
    inner = 3 * width if part.gated else 2 * width
    if resolved.compiled:
        return inner + 3 * facts.hidden
    if _eight_bit_inputs(facts, resolved):
        inner += width // 2
    states = 3 if facts.family in _REUSES_NAME else 4
    return inner + (states + facts.family.startswith("gemma")) * facts.hidden


def _kv_width(attention: Attention, resolved: Resolved) -> int:
    return max(1, attention.kv_heads // resolved.tensor_parallel) * attention.head_dim


def _attention(facts: ModelFacts, resolved: Resolved, attention: Attention) -> int:
    """Numbers a token: the projection, normed queries and keys beside it, the result."""
    queries = attention.heads // resolved.tensor_parallel * attention.head_dim
    return 2 * facts.hidden + 3 * queries + 3 * _kv_width(attention, resolved)


def _latent(facts: ModelFacts, resolved: Resolved, attention: Attention) -> int:
    """Numbers a token: queries, the latent vector and its normed part, the result."""
    heads, nope, value, rope = facts.mla_heads
    heads //= resolved.tensor_parallel
    return 2 * facts.hidden + heads * (nope + rope + value) + 2 * attention.latent - rope


def _expanded(facts: ModelFacts, resolved: Resolved) -> int:
    """Bytes that the profile run takes for the largest piece of context expanded from latent vectors."""
    heads, nope, value, _ = facts.mla_heads
    pages = resolved.max_num_seqs * resolved.block_size
    tokens = max(min(max(8 * resolved.max_model_len, 4 * pages), _MLA_CONTEXT_TOKENS), pages)
    return tokens * heads // resolved.tensor_parallel * (nope + value) * number_bytes(resolved)


def _state(facts: ModelFacts, resolved: Resolved, attention: Attention) -> int:
    """Numbers a token of a mamba-like layer: its projections, convolved, and the result. Rough."""
    cache = attention.state
    if cache is None:
        return 2 * facts.hidden
    keys = cache.groups * cache.state
    width = max(cache.heads * cache.head_dim, cache.inner)
    return 2 * facts.hidden + (4 * keys + 5 * width) // resolved.tensor_parallel
