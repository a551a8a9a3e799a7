"""What vLLM takes where the arguments leave something open. The numbers are vLLM's own."""

from __future__ import annotations

from infctl.figure import GIB
from infctl.models import ModelFacts
from infctl.sizing import Card, EngineArgs, Resolved
from infctl.sizing.hardware import capability
from infctl.sizing.kv_specs import block_size

UTILIZATION = 0.92
"""vLLM's default share of the card."""

CPU_KV_BYTES = GIB
"""`VLLM_CPU_KVCACHE_SPACE` of the local profile; on a CPU the KV cache is given, not what is left."""

_DTYPES = {"half": "float16", "float": "float32"}


def resolve(facts: ModelFacts, args: EngineArgs, card: Card) -> Resolved:
    """`args` with nothing left open, as vLLM's server would run them on `card`."""
    length = args.max_model_len or facts.default_context or facts.context
    tokens, seqs = _batch(facts, args, card, length)
    dtype = facts.dtype if args.dtype in {None, "auto"} else _DTYPES.get(str(args.dtype), str(args.dtype))
    kv_dtype = _kv_dtype(args.kv_cache_dtype, dtype)
    share = args.gpu_memory_utilization
    return Resolved(
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        gpu_memory_utilization=UTILIZATION if share is None else share,
        kv_cache_memory_bytes=args.kv_cache_memory_bytes,
        dtype=dtype,
        kv_dtype=kv_dtype,
        block_size=block_size(
            facts,
            args.block_size,
            args.vllm,
            cpu=card.cpu,
            capability=capability(card),
            fp8=kv_dtype == "fp8",
        ),
        tensor_parallel=args.tensor_parallel,
        pipeline_parallel=args.pipeline_parallel,
        expert_parallel=args.expert_parallel,
        compiled=not args.enforce_eager,
        async_scheduling=_schedules_ahead(facts, args, card),
        prefix_caching=_caches_prefixes(facts, args) if args.prefix_caching is None else args.prefix_caching,
        hybrid_kv_cache=args.hybrid_kv_cache,
        cpu_offload_bytes=args.cpu_offload_bytes,
        quantization=args.quantization or (facts.quantization.name if facts.quantization else None),
        vllm=args.vllm,
    )


def pools(facts: ModelFacts, args: EngineArgs) -> bool:
    """Whether vLLM would run its pooling runner: it embeds or scores, and samples nothing."""
    if args.runner in {None, "auto"}:
        return facts.pooling
    return args.runner == "pooling"


def _schedules_ahead(facts: ModelFacts, args: EngineArgs, card: Card) -> bool:
    """Whatever is asked for, vLLM does not on a CPU."""
    if card.cpu:
        return False
    return not pools(facts, args) if args.async_scheduling is None else args.async_scheduling


def _batch(facts: ModelFacts, args: EngineArgs, card: Card, length: int) -> tuple[int, int]:
    """(max_num_batched_tokens, max_num_seqs)."""
    default_tokens, default_seqs = _by_card(args, card)
    seqs = args.max_num_seqs if args.max_num_seqs is not None else default_seqs
    tokens = args.max_num_batched_tokens
    if tokens is None:
        tokens = default_tokens
        if not _chunks(facts, args):
            tokens = max(tokens, length)  # a prompt that cannot be cut has to fit into one batch
        tokens = min(tokens, seqs * length)
    if args.max_num_seqs is None:
        seqs = min(seqs, tokens)
    return tokens, seqs


def _by_card(args: EngineArgs, card: Card) -> tuple[int, int]:
    ranks = args.tensor_parallel * args.pipeline_parallel
    if card.cpu:
        return 2048 * ranks, 128 * ranks
    if card.total_bytes >= 160 * GIB and args.vllm != "0.25":
        return 16384, 1024
    if card.total_bytes >= 70 * GIB and "a100" not in card.name.lower():
        return 8192, 1024
    return 2048, 256


def _chunks(facts: ModelFacts, args: EngineArgs) -> bool:
    """Whether a prompt may be cut: not where later words change earlier ones."""
    if args.chunked_prefill is not None:
        return args.chunked_prefill
    return not (pools(facts, args) and facts.encoder_only)


def _caches_prefixes(facts: ModelFacts, args: EngineArgs) -> bool:
    """Whether prompts that begin alike are computed once, where nobody says so (0.32: `ModelConfig`)."""
    if pools(facts, args):
        return not facts.encoder_only and not facts.hybrid
    if all(layer.attention.kind in {"state", "none"} for layer in facts.layers):
        return False
    return not facts.hybrid or args.vllm != "0.25"


def _kv_dtype(asked: str | None, dtype: str) -> str:
    if asked in {None, "auto"}:
        return dtype
    return "fp8" if str(asked).startswith("fp8") else _DTYPES.get(str(asked), str(asked))
