"""What captured CUDA graphs take, and whether vLLM leaves room for them."""

from __future__ import annotations

from infctl.figure import ZERO, Figure
from infctl.models import ModelFacts
from infctl.sizing import Card, Resolved
from infctl.sizing.hardware import generation

MIB = 2**20

LARGEST = 512
"""Tokens of the largest graph on every card but the data-centre Blackwells."""

PER_LAYER = MIB // 8
"""The driver's share of a layer's graph, captured once a size."""

SPLITS = 32
"""Parts into which FlashAttention 3 may cut a long context inside a graph; each has a float32 result."""

FIRST_RUN = 96 * MIB
"""Encoders are captured without a profile run before, so kernels and workspaces are loaded meanwhile."""

_RUNNER_V2_EXPERTS = {"DeepseekV2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM"}


def capture_sizes(resolved: Resolved) -> tuple[int, ...]:
    """Tokens of each graph: 1, 2, 4, by eights below 256, by sixteens from there on."""
    largest = min(2 * resolved.max_num_seqs, LARGEST, resolved.max_num_batched_tokens)
    sizes = (1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16))
    return tuple(size for size in sizes if size <= largest)


def cudagraphs(facts: ModelFacts, resolved: Resolved, card: Card) -> Figure:
    """Bytes a rank that are gone once all graphs are captured.

    Each size is captured piece by piece; those of at most max_num_seqs once more as a whole, for decoding.
    """
    if card.cpu or not resolved.compiled:
        return ZERO
    sizes = capture_sizes(resolved)
    whole = () if facts.pooling else tuple(size for size in sizes if size <= resolved.max_num_seqs)
    driver = PER_LAYER * len(facts.layers) * (len(sizes) + len(whole))
    width = max((layer.feed_forward.dense for layer in facts.layers), default=0) // resolved.tensor_parallel
    expected = driver + 3 * width * max(sizes, default=0) * 2 + _splits(facts, resolved, whole, card)
    if facts.encoder_only:
        expected += FIRST_RUN
    return Figure(expected, int(expected * 0.65), int(expected * 1.35), "fitted")


def _splits(facts: ModelFacts, resolved: Resolved, whole: tuple[int, ...], card: Card) -> int:
    """Bytes of partial results of attention, twice: the run that warms a graph up has its own."""
    if generation(card) != "hopper":
        return 0
    heads = max((layer.attention.heads * layer.attention.head_dim for layer in facts.layers), default=0)
    return 2 * SPLITS * max(whole, default=0) * heads // resolved.tensor_parallel * 4


def runner_v2(facts: ModelFacts, resolved: Resolved) -> bool:
    """Whether vLLM's second model runner serves the model: all of them in 0.32, part of them in 0.25."""
    if resolved.vllm != "0.25":
        return True
    if facts.pooling or facts.hybrid:
        return False
    return facts.architecture in _RUNNER_V2_EXPERTS or not facts.experts


def counts_graphs(facts: ModelFacts, resolved: Resolved) -> bool:
    """Whether the KV cache gives up the graphs' memory: 0.25's second runner did not look at it."""
    return resolved.compiled and (resolved.vllm != "0.25" or not runner_v2(facts, resolved))
