"""What an engine takes of a card beside weights, activation, graphs and KV cache."""

from __future__ import annotations

from infctl.figure import ZERO, Figure
from infctl.models import ModelFacts
from infctl.sizing import Card, Resolved

MIB = 2**20
GIB = 2**30


def non_torch(resolved: Resolved, card: Card) -> Figure:
    """Bytes inside vLLM's budget that PyTorch's allocator does not own: kernels, workspaces, NCCL.

    One rank: 0.22 GiB in every measured start. Several: NCCL's buffers and the all-reduce kernels add about
    1.9 GiB a GPU, reported between 1.0 and 2.3 by others and never measured here.
    """
    if card.cpu:
        return ZERO
    if resolved.tensor_parallel > 1:
        return Figure(int(2.1 * GIB), GIB, int(2.4 * GIB), "assumed")
    if resolved.pipeline_parallel > 1:
        return Figure(int(0.3 * GIB), int(0.2 * GIB), int(0.8 * GIB), "assumed")
    return Figure(int(0.22 * GIB), int(0.2 * GIB), int(0.28 * GIB), "fitted")


def context(card: Card) -> Figure:
    """Bytes of the CUDA context: the card loses them, but vLLM's budget does not count them."""
    if card.cpu:
        return ZERO
    return Figure(int(0.5 * GIB), int(0.3 * GIB), int(0.55 * GIB), "fitted")


def runtime_headroom(facts: ModelFacts, resolved: Resolved) -> int:
    """Bytes that vLLM takes while it serves and has not reserved at its start.

    A request with top-p, penalties or log-probabilities turns its row of logits into float32, and the
    profile run asks for none of them. Gated delta-net layers work on scratch of 12 KiB a batched token, which
    profiling skips together with attention.
    """
    rows = min(resolved.max_num_seqs, resolved.max_num_batched_tokens)
    sampling = 0 if facts.pooling else 4 * rows * facts.vocab
    scratch = 12 * 1024 * resolved.max_num_batched_tokens if facts.hybrid else 0
    return sampling + scratch
