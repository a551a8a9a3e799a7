"""The peak of vLLM's profile run: what one full batch needs while it is computed, beyond the weights.

Every term is a moment of the run, named by the tensors alive at it; the peak is the largest moment.
T: max_num_batched_tokens. S: rows that are sampled. H: hidden. I: width of the feed-forward. V: vocabulary.
"""

from __future__ import annotations

from infctl.figure import ZERO, Figure
from infctl.models import Layer, ModelFacts
from infctl.sizing import Card, Resolved

MIB = 2**20

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

CUBLAS_WORKSPACE = 32 * MIB
"""PyTorch keeps one for cuBLAS on Hopper and later; part of the peak once a plain matrix product has run."""


def activation(facts: ModelFacts, resolved: Resolved, card: Card) -> Figure:
    """Bytes a rank."""
    if card.cpu:
        return ZERO
    moments = [_forward(facts, resolved)]
    if not facts.pooling:
        moments.append(_sampling(facts, resolved))
    if resolved.compiled:
        moments.append(_compiling(facts, resolved))
    peak = max(moments)
    doubt = max(int(peak * (0.06 if facts.known else 0.5)), 48 * MIB)
    return Figure(peak, max(peak - doubt, 0), peak + doubt, "fitted" if facts.known else "assumed")


def _number(resolved: Resolved) -> int:
    """Bytes of one activation."""
    return BYTES.get(resolved.dtype, 2)


def _workspace(facts: ModelFacts) -> int:
    quantization = facts.quantization
    return CUBLAS_WORKSPACE if quantization is None or quantization.method == "none" else 0


def _forward(facts: ModelFacts, resolved: Resolved) -> int:
    widest = max((_feed_forward(facts, resolved, layer) for layer in facts.layers), default=0)
    return resolved.max_num_batched_tokens * widest * _number(resolved) + _workspace(facts)


def _feed_forward(facts: ModelFacts, resolved: Resolved, layer: Layer) -> int:
    """Numbers a token: gate and up, their product, and the hidden states alive around them."""
    part = layer.feed_forward
    width = part.dense // resolved.tensor_parallel
    inner = 3 * width if part.gated else 2 * width
    return inner + (34 if resolved.compiled else 40) * facts.hidden // 10


def _sampling(facts: ModelFacts, resolved: Resolved) -> int:
    """Logits, their float32 copy, and the hidden states of the batch they come from."""
    rows = min(resolved.max_num_seqs, resolved.max_num_batched_tokens)
    states = resolved.max_num_batched_tokens * facts.hidden * _number(resolved)
    return rows * facts.vocab * (_number(resolved) + 4) + states + CUBLAS_WORKSPACE


def _compiling(facts: ModelFacts, resolved: Resolved) -> int:
    """Inductor tries out its fused kernels on random tensors of the shapes they will see,
    the embedding table among them.
    """
    table = facts.vocab // resolved.tensor_parallel * facts.hidden
    return (table + 2 * resolved.max_num_batched_tokens * facts.hidden) * _number(resolved)
