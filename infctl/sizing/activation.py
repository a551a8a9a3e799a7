"""The peak of vLLM's profile run: what one full batch needs while it is computed, beyond the weights.

Every term is a moment of that run, named by the tensors alive at it; the peak is the largest moment.
T: max_num_batched_tokens. S: rows that are sampled. H: hidden. V: vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

from infctl.figure import GIB, MIB, ZERO, Figure
from infctl.models import ModelFacts
from infctl.sizing import Card, Resolved
from infctl.sizing.forward import forward, kept, number_bytes
from infctl.sizing.graphs import runner_v2
from infctl.sizing.hardware import generation
from infctl.sizing.packing import method


def activation(facts: ModelFacts, resolved: Resolved, card: Card) -> Figure:
    """Bytes a rank, inside vLLM's budget: what its profile run sees."""
    warm = serving(facts, resolved, card)
    cold = _compiling(facts, resolved)
    if card.cpu or cold <= warm.expected:
        return warm
    # Low: a start that finds its kernels compiled, in vLLM's cache, compiles nothing and so times nothing.
    doubt = _spread(cold, _doubt(facts)) - _spread(warm.expected, _doubt(facts))
    return replace(warm, expected=cold, high=cold + warm.high - warm.expected + doubt)


def serving(facts: ModelFacts, resolved: Resolved, card: Card) -> Figure:
    """Bytes a rank for the same batch once everything is compiled: what serving needs beside the KV cache.

    Compiling is over before the KV cache and the graphs get their memory: its peak and theirs never meet.
    """
    if card.cpu:
        return ZERO
    warm = max(_layers(facts, resolved, card), _sampling(facts, resolved, card))
    spread = _spread(warm, _doubt(facts))
    # Pictures and sound go through encoders that the text model's facts know nothing about.
    more = GIB if facts.multimodal else 0
    return Figure(warm, max(warm - spread, 0), warm + spread + more, "fitted" if facts.known else "assumed")


def _doubt(facts: ModelFacts) -> float:
    """The share by which a formula may be off, either way."""
    if not facts.known:
        return 0.5
    if facts.hybrid or facts.encoder_only:
        return 0.3
    latent = any(layer.attention.kind == "mla" for layer in facts.layers)
    return 0.1 if facts.experts or latent else 0.04


def _spread(peak: int, share: float) -> int:
    return max(int(peak * share), 32 * MIB)


COMPILED_CODE = 48 * MIB
"""What compiled code allocates beside its tensors: the same in starts of 8,192 and of 16,384 tokens, and with
keys of 512, 1,024 and 4,096 numbers."""


def _layers(facts: ModelFacts, resolved: Resolved, card: Card) -> int:
    # Quantised products bring their own kernels; mxfp4 is for experts only.
    how = method(facts, resolved)
    plain = how is None or how.method == "mxfp4"
    compiled = COMPILED_CODE if resolved.compiled else 0
    return forward(facts, resolved, card) + compiled + (_product_workspace(card) if plain else 0)


def _product_workspace(card: Card) -> int:
    """Bytes that PyTorch keeps for cuBLAS from the first plain matrix product on."""
    return 8 * MIB + 128 * 1024 if generation(card) == "older" else 32 * MIB


def _sampling(facts: ModelFacts, resolved: Resolved, card: Card) -> int:
    """Bytes while the next tokens are drawn from the logits of S rows.

    The second runner makes one float32 copy of the logits in 0.25, and none in 0.32, where the profile run
    asks for nothing that needs one. The first runner asks for top-k and top-p: beside the copy there are
    probabilities and noise in float32, and one row a multiprocessor that the cut sorts in.
    """
    if facts.pooling:
        return 0
    rows = min(resolved.max_num_seqs, resolved.max_num_batched_tokens)
    logits = rows * facts.vocab
    size = number_bytes(resolved)
    states = (resolved.max_num_batched_tokens + rows) * facts.hidden * size
    # Each rank has the logits of its part of the vocabulary: gathered, then brought into one order.
    gathered = logits * size * 2 + logits * size // resolved.tensor_parallel
    if not runner_v2(facts, resolved):
        sampler = logits * (size + 12) + 132 * facts.vocab * 4 + rows * facts.hidden * size
    elif resolved.vllm == "0.25":
        sampler = logits * (size + 4)
    else:
        sampler = logits * size * (2 if facts.scale_logits_soft_cap else 1)
    held = max((kept(layer.feed_forward, facts, resolved, card) for layer in set(facts.layers)), default=0)
    if resolved.tensor_parallel > 1:
        sampler = max(sampler, gathered)
    return sampler + states + held + _product_workspace(card)


def _compiling(facts: ModelFacts, resolved: Resolved) -> int:
    """Bytes while Inductor times its fused kernels on random tensors of the shapes they will see.

    The largest is the first one of the model: looking up the embedding and norming it, with the whole table
    as its input and two tensors of states as its output.
    """
    if not resolved.compiled:
        return 0
    table = _padded(facts.vocab) // resolved.tensor_parallel * facts.hidden
    return (table + 2 * resolved.max_num_batched_tokens * facts.hidden) * number_bytes(resolved)


def _padded(vocab: int) -> int:
    return -(-vocab // 64) * 64
