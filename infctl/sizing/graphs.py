"""What captured CUDA graphs take, and whether vLLM leaves room for them."""

from __future__ import annotations

from infctl.figure import MIB, ZERO, Figure
from infctl.models import Attention, ModelFacts
from infctl.sizing import Card, Resolved
from infctl.sizing.hardware import generation

LARGEST = 512
"""Tokens of the largest graph on every card but the data-centre Blackwells."""

LARGEST_OF = {"gpt_oss": 1024}
"""Families for which vLLM takes another one, whatever max_num_seqs is."""

PER_LAYER = MIB // 8
"""The driver's share of a layer's graph, captured once a size."""

OF_EXPERTS = 4 * MIB
"""More of a graph where layers route tokens to experts: many small kernels."""

SPLITS = 32
"""Parts into which FlashAttention 3 may cut a long context inside a graph; each has a float32 result."""

SPLIT_REQUESTS = 992
"""The most requests of a batch that it cuts so."""

FIRST_PIECES = 98 * MIB
"""What the first capture costs beside a layer's tensors: workspaces of its stream, the driver's own."""

FIRST_RUN = 96 * MIB
"""Encoders are captured without a profile run before, so kernels and workspaces are loaded meanwhile."""

_RUNNER_V2_EXPERTS = {"DeepseekV2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM"}


def capture_sizes(resolved: Resolved, family: str = "") -> tuple[int, ...]:
    """Tokens of each graph: 1, 2, 4, by eights below 256, by sixteens from there on."""
    largest = LARGEST_OF.get(family, min(2 * resolved.max_num_seqs, LARGEST))
    largest = min(largest, resolved.max_num_batched_tokens)
    sizes = (1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16))
    return tuple(size for size in sizes if size <= largest)


def cudagraphs(facts: ModelFacts, resolved: Resolved, card: Card) -> Figure:
    """Bytes a rank that are gone once all graphs are captured.

    Each size is captured piece by piece; those of at most max_num_seqs once more as a whole, for decoding.
    """
    if card.cpu or not resolved.compiled:
        return ZERO
    sizes = capture_sizes(resolved, facts.family)
    whole = () if facts.pooling else tuple(size for size in sizes if size <= resolved.max_num_seqs)
    if _estimates_first(facts, resolved):
        return _estimated(facts, resolved, card, sizes, whole)
    driver = _driver(facts) * (len(sizes) + len(whole))
    # The run that warms a graph up has results of attention of its own.
    expected = driver + _dense(facts, resolved, sizes) + 2 * _splits(facts, resolved, whole, card)
    if facts.encoder_only:
        expected += FIRST_RUN
    return Figure(expected, int(expected * 0.65), int(expected * 1.35), "fitted")


def left_by_profiling(facts: ModelFacts, resolved: Resolved, card: Card) -> Figure:
    """Bytes of kernels that 0.25's first runner loads while it profiles graphs, and so counts as non-torch.

    The others skip attention until the KV cache has its memory. Public starts of one model on one card report
    0.13 GiB of non-torch memory before vLLM profiled graphs and 0.25 GiB ever since.
    """
    several = resolved.tensor_parallel * resolved.pipeline_parallel > 1  # reported as a whole, kernels too
    if card.cpu or several or not _estimates_first(facts, resolved):
        return ZERO
    return Figure(120 * MIB, 0, 160 * MIB, "assumed")


def _estimates_first(facts: ModelFacts, resolved: Resolved) -> bool:
    """Whether it is 0.25's first runner that sizes a KV cache beside graphs."""
    return counts_graphs(facts, resolved) and not runner_v2(facts, resolved) and not facts.pooling


def _estimated(
    facts: ModelFacts, resolved: Resolved, card: Card, sizes: tuple[int, ...], whole: tuple[int, ...]
) -> Figure:
    """What 0.25's first runner takes away from the KV cache: two graphs of each kind, and the others like
    the second. What they take in the end was up to 1.4 times as much.
    """
    each = _driver(facts)
    pieces = FIRST_PIECES + _dense(facts, resolved, sizes) + _experts(facts, resolved, sizes, card)
    split = whole if max(whole, default=0) <= SPLIT_REQUESTS else ()
    entire = each + _splits(facts, resolved, split, card)
    expected = max(pieces, entire) + each * max(len(sizes) + len(whole) - 2, 0)
    return Figure(expected, int(expected * 0.75), int(expected * 1.45), "fitted")


def _driver(facts: ModelFacts) -> int:
    """Bytes of one graph that no tensor accounts for."""
    return PER_LAYER * len(facts.layers) + (OF_EXPERTS if facts.experts else 0)


def _dense(facts: ModelFacts, resolved: Resolved, sizes: tuple[int, ...]) -> int:
    """Bytes of a layer's feed-forward in the largest graph."""
    width = max((layer.feed_forward.dense for layer in facts.layers), default=0) // resolved.tensor_parallel
    return 3 * width * max(sizes, default=0) * 2


def _experts(facts: ModelFacts, resolved: Resolved, sizes: tuple[int, ...], card: Card) -> int:
    """Bytes of the experts' tensors in the largest graph, where their kernels keep no workspace for it."""
    how = facts.quantization
    if how is None or how.method != "mxfp4" or generation(card) != "hopper":
        return 0
    part = max((layer.feed_forward for layer in facts.layers), key=lambda layer: layer.expert_width)
    width = part.expert_width // resolved.tensor_parallel + facts.hidden
    return (part.experts_per_token * width + 4 * facts.hidden) * max(sizes, default=0) * 2


def _splits(facts: ModelFacts, resolved: Resolved, whole: tuple[int, ...], card: Card) -> int:
    """Bytes of partial results of attention."""
    if generation(card) != "hopper":
        return 0
    width = max((_result_width(facts, layer.attention) for layer in facts.layers), default=0)
    requests = min(max(whole, default=0), SPLIT_REQUESTS)
    return SPLITS * requests * width // resolved.tensor_parallel * 4


def _result_width(facts: ModelFacts, attention: Attention) -> int:
    """Numbers of one token's result, all heads: latent ones where attention is computed on latent vectors."""
    if attention.kind == "mla":
        heads, _, _, rope = facts.mla_heads
        return heads * (attention.latent - rope)
    return attention.heads * attention.head_dim


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
