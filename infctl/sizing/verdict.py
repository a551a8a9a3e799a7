"""Whether a replica runs, and why not: in sentences with what is missing and the flag that would do."""

from __future__ import annotations

from math import ceil

from infctl.figure import gib
from infctl.models import ModelFacts
from infctl.sizing import Fate, KvCapacity, MemoryNeed
from infctl.sizing.kv import bytes_for, refusal
from infctl.sizing.kv_groups import CannotGroup
from infctl.sizing.kv_specs import Ranks

BLOCK_STEP = 16
"""Tokens; the block sizes that attention backends on a GPU take are multiples of it."""

RANKS_MAX = 64
"""GPUs one replica may be cut across; where even they do not hold the weights, nothing else is proposed."""


def verdict(facts: ModelFacts, ranks: Ranks, found: MemoryNeed) -> tuple[Fate, str]:
    """Of a MemoryNeed whose own fate is not known yet."""
    length = found.resolved.max_model_len
    if length > facts.context:
        return "context", (
            f"max_model_len {length:,} is longer than the {facts.context:,} tokens the model takes: "
            f"--max-model-len {facts.context} is the most."
        )
    gate = _refused(facts, found) or _gate(found)
    if gate:
        return "start", gate
    if found.kv is None:
        return "fits", _no_cache(found)
    refused = refusal(ranks, found.resolved)
    if refused:
        return "kv", f"vLLM would not start: {refused}"
    if found.kv_bytes.expected <= 0:
        return "weights", _no_room(ranks, found)
    if not found.kv.fits:
        return "kv", _too_long(ranks, found, found.kv)
    return "fits", _what_to_know(ranks, found, found.kv)


def _refused(facts: ModelFacts, found: MemoryNeed) -> str:
    """Which arguments vLLM refuses together; empty: none."""
    resolved = found.resolved
    tokens, seqs, length = resolved.max_num_batched_tokens, resolved.max_num_seqs, resolved.max_model_len
    if tokens < seqs:
        return (
            f"max_num_batched_tokens {tokens:,} is less than max_num_seqs {seqs:,}, which vLLM refuses: "
            f"--max-num-seqs {tokens} is the most."
        )
    if facts.encoder_only and tokens < length:
        return (
            f"max_num_batched_tokens {tokens:,} is less than max_model_len {length:,}, which vLLM refuses "
            f"for a model whose prompts cannot be cut: --max-num-batched-tokens {length} is the least."
        )
    ranks = resolved.tensor_parallel
    heads = next((layer.attention.heads for layer in facts.layers if layer.attention.heads % ranks), 0)
    if heads:
        return (
            f"{heads} attention heads cannot be cut into {ranks} equal parts, which vLLM refuses: "
            "--tensor-parallel-size has to divide them."
        )
    if resolved.pipeline_parallel > len(facts.layers):
        return (
            f"--pipeline-parallel-size {resolved.pipeline_parallel} is more than the model's "
            f"{len(facts.layers)} layers."
        )
    size = resolved.block_size
    if size % BLOCK_STEP and found.kv is not None and not found.card.cpu and _attends(facts):
        return (
            f"--block-size {size} is no multiple of {BLOCK_STEP}, which no attention backend of vLLM takes "
            f"on a GPU: --block-size {max(size // BLOCK_STEP, 1) * BLOCK_STEP} would do."
        )
    return ""


def _attends(facts: ModelFacts) -> bool:
    """Whether any layer keeps tokens in blocks, and not only a state a request."""
    return any(layer.attention.kind in {"full", "mla", "sliding", "chunked"} for layer in facts.layers)


def _gate(found: MemoryNeed) -> str:
    """Why vLLM, or the card, refuses before anything is loaded; empty: it does not."""
    card, resolved = found.card, found.resolved
    free = card.total_bytes - found.context.low
    if card.cpu:
        return _beyond(found) if found.footprint.low > card.total_bytes else ""
    if found.budget_bytes > free and resolved.kv_cache_memory_bytes is None:
        most = int(100 * free / card.total_bytes) / 100
        return (
            f"--gpu-memory-utilization {resolved.gpu_memory_utilization:g} asks for "
            f"{_gib(found.budget_bytes)} of {_gib(card.total_bytes)}, but the CUDA context alone leaves "
            f"{_gib(free)} free: vLLM would not start. {most:g} is the most."
        )
    given = resolved.kv_cache_memory_bytes is not None or found.kv is None
    return _beyond(found) if given and found.footprint.expected > card.total_bytes else ""


def _beyond(found: MemoryNeed) -> str:
    over = found.footprint.expected - found.card.total_bytes
    total, card = _gib(found.footprint.expected), _gib(found.card.total_bytes)
    kind = "machine" if found.card.cpu else "card"
    says = f"{_parts(found)}: {total} on a {kind} of {card}, {_gib(over)} too much"
    given = found.resolved.kv_cache_memory_bytes
    if given is not None and given > over:
        return f"{says}; --kv-cache-memory-bytes {given - over} would do."
    return f"{says}; {'fewer bits may do.' if found.card.cpu else _larger(found)}"


def _no_cache(found: MemoryNeed) -> str:
    return (
        f"Keeps no KV cache: {_gib(found.footprint.expected)} in all, and --gpu-memory-utilization "
        "only decides whether it starts."
    )


def _no_room(ranks: Ranks, found: MemoryNeed) -> str:
    missing = -found.kv_bytes.expected
    return (
        f"{_parts(found, kv=False)} need {_gib(found.budget_bytes + missing)}, and {_budget(found)} is "
        f"{_gib(found.budget_bytes)}: {_gib(missing)} are missing before the KV cache gets a byte; "
        f"{_cure(ranks, found)}"
    )


def _too_long(ranks: Ranks, found: MemoryNeed, kv: KvCapacity) -> str:
    needed = _one_request(ranks, found)
    room = found.kv_bytes.expected
    length = kv.longest
    shorter = f"--max-model-len {length} fits" if length else "No context fits"
    return (
        f"One request of max_model_len {found.resolved.max_model_len:,} needs {_gib(needed)} of KV cache and "
        f"{_gib(room)} are left: {_gib(max(needed - room, 0))} are missing. {shorter}; {_cure(ranks, found)}"
    )


def _what_to_know(ranks: Ranks, found: MemoryNeed, kv: KvCapacity) -> str:
    says = (
        f"{_gib(found.kv_bytes.expected)} of KV cache hold {kv.tokens:,} tokens: "
        f"{kv.concurrency:.1f} requests of {found.resolved.max_model_len:,}."
    )
    if found.kv_bytes.low < _one_request(ranks, found):
        says += " It is close: in the worst case of the band one request would not fit."
    return says


def _cure(ranks: Ranks, found: MemoryNeed) -> str:
    """The flag and the value that would do, or why none does."""
    more = _one_request(ranks, found) - found.kv_bytes.expected
    if found.resolved.kv_cache_memory_bytes is not None:
        return f"--kv-cache-memory-bytes {found.kv_bytes.expected + more} is the least."
    share = ceil(100 * (found.budget_bytes + more) / found.card.total_bytes) / 100
    if share * found.card.total_bytes <= found.card.total_bytes - found.context.expected:
        return f"--gpu-memory-utilization {share:g} would do on an otherwise empty card."
    return _larger(found)


def _larger(found: MemoryNeed) -> str:
    ranks = found.resolved.tensor_parallel
    wider = 2 * ranks
    while wider < RANKS_MAX and found.weights.expected * ranks // wider >= found.budget_bytes:
        wider *= 2
    return f"more of this card would not do; a larger card, --tensor-parallel-size {wider} or fewer bits may."


def _one_request(ranks: Ranks, found: MemoryNeed) -> int:
    try:
        return bytes_for(ranks, 1, found.resolved)
    except CannotGroup:
        return 0


def _parts(found: MemoryNeed, *, kv: bool = True) -> str:
    named = [
        ("activation", found.activation),
        ("CUDA graphs", found.cudagraphs),
        ("other work", found.non_torch),
    ]
    if kv:
        named += [("context", found.context), ("KV cache", found.kv_bytes)]
    said = [f"{name} {_gib(figure.expected)}" for name, figure in named if figure.expected > 0]
    return ", ".join([f"Weights {_gib(found.weights.expected)}", *said])


def _budget(found: MemoryNeed) -> str:
    return f"{found.resolved.gpu_memory_utilization:g} of the card's {_gib(found.card.total_bytes)}"


def _gib(size: int) -> str:
    return gib(size, 2)
