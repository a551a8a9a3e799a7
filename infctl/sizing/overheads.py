"""What an engine takes of a card beside weights, activation, graphs and KV cache."""

from __future__ import annotations

from infctl.figure import GIB, MIB, ZERO, Figure
from infctl.models import ModelFacts
from infctl.sizing import Card, Resolved
from infctl.sizing.activation import serving

LATE_KERNELS = 184 * MIB
"""Loaded when an engine warms up or first serves: attention, sampling. The profile run skips them."""

GDN_SCRATCH = 12 * 1024
"""Bytes a batched token of gated delta-net prefill; attention is skipped while vLLM profiles."""


def non_torch(resolved: Resolved, card: Card) -> Figure:
    """Bytes inside vLLM's budget that PyTorch's allocator does not own: kernels, workspaces, NCCL.

    One rank: 0.22 GiB in every measured start. Several: NCCL's buffers and the all-reduce kernels add about
    1.9 GiB a GPU, reported between 1.0 and 2.3 by others and never measured here. Stages of one rank
    each: others report 0.07 on an H100. On a CPU: the three processes of an engine, without weights and KV
    cache.
    """
    if card.cpu:
        return Figure(2 * GIB, int(1.5 * GIB), 3 * GIB, "assumed")
    if resolved.tensor_parallel > 1:
        return Figure(int(2.1 * GIB), GIB, int(2.3 * GIB), "assumed")
    if resolved.pipeline_parallel > 1:
        return Figure(int(0.3 * GIB), int(0.05 * GIB), int(0.8 * GIB), "assumed")
    return Figure(int(0.22 * GIB), int(0.2 * GIB), int(0.28 * GIB), "fitted")


def context(card: Card) -> Figure:
    """Bytes of the CUDA context: the card loses them, but vLLM's budget does not count them."""
    if card.cpu:
        return ZERO
    return Figure(int(0.5 * GIB), int(0.3 * GIB), int(0.55 * GIB), "fitted")


_ANY_CARD = Card("any", 0)


def runtime_headroom(facts: ModelFacts, resolved: Resolved, card: Card = _ANY_CARD) -> int:
    """Bytes that vLLM takes once it serves and has not reserved at its start.

    Sampling with top-k and top-p leaves twelve bytes a logit in PyTorch's cache (S rows times V; seen in all
    measured starts), of which the work of a batch, over by then, covers a part; four of them are float32
    copies that 0.32's profile run never makes.
    """
    if card.cpu:
        return 0
    scratch = GDN_SCRATCH * resolved.max_num_batched_tokens if facts.hybrid else 0
    if facts.pooling:
        return LATE_KERNELS + scratch
    logits = min(resolved.max_num_seqs, resolved.max_num_batched_tokens) * facts.vocab
    reserved = serving(facts, resolved, card).expected
    return LATE_KERNELS + scratch + max(4 * logits, 12 * logits - reserved)
