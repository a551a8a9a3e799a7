"""Everything joined: what a replica needs of its card, what its KV cache then holds, whether it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod

from infctl.figure import ZERO, Figure, exactly, within
from infctl.models import ModelFacts
from infctl.sizing import Card, EngineArgs, Fate, KvCapacity, Measured, MemoryNeed, Resolved
from infctl.sizing.activation import activation
from infctl.sizing.defaults import CPU_KV_BYTES, pools, resolve
from infctl.sizing.graphs import counts_graphs, cudagraphs
from infctl.sizing.kv import capacity, longest
from infctl.sizing.kv_specs import Ranks, specs
from infctl.sizing.overheads import context, non_torch

try:
    from infctl.sizing.weights import weights
except ImportError:  # pragma: no cover

    def weights(facts: ModelFacts, _resolved: Resolved) -> Figure:
        return exactly(facts.stored_bytes or 2 * sum(w.count * prod(w.shape) for w in facts.weights))


GIB = 2**30


def need(facts: ModelFacts, args: EngineArgs, card: Card, *, measured: Measured | None = None) -> MemoryNeed:
    """One replica of `facts` with `args` on `card`, a rank. Nothing raises: what cannot run says why."""
    facts = replace(facts, pooling=pools(facts, args))
    resolved = resolve(facts, args, card)
    parts = _parts(facts, resolved, card, measured)
    ranks = specs(facts, resolved)
    caches = any(ranks)
    budget, room = _kv_bytes(facts, resolved, card, parts, measured, caches=caches)
    kv = capacity(ranks, _each(room.expected, resolved), resolved)
    reach = _reach(ranks, room, resolved, facts)
    joined = MemoryNeed(
        resolved=resolved,
        card=card,
        budget_bytes=budget,
        weights=parts.weights,
        activation=parts.activation,
        cudagraphs=parts.cudagraphs,
        non_torch=parts.non_torch,
        context=parts.context,
        kv_bytes=room,
        kv=kv,
        kv_tokens=_tokens(ranks, room, resolved, kv, measured),
        fate="fits",
        reason="",
        max_model_len_that_fits=reach,
        warnings=facts.warnings,
    )
    fate, reason = _verdict(facts, joined)
    return replace(joined, fate=fate, reason=reason)


@dataclass(frozen=True, slots=True)
class _Parts:
    weights: Figure
    activation: Figure
    cudagraphs: Figure
    non_torch: Figure
    context: Figure


def _parts(facts: ModelFacts, resolved: Resolved, card: Card, measured: Measured | None) -> _Parts:
    seen = measured or Measured()
    return _Parts(
        _seen(seen.weights_bytes, weights(facts, resolved)),
        _seen(seen.activation_bytes, activation(facts, resolved, card)),
        _seen(seen.cudagraph_bytes, cudagraphs(facts, resolved, card)),
        _seen(seen.non_torch_bytes, non_torch(resolved, card)),
        context(card),
    )


def _seen(value: int | None, planned: Figure) -> Figure:
    """What an engine reported takes the place of what was planned. Its log rounds to 0.01 GiB."""
    return planned if value is None else within(value, 0.005, "measured")


def _kv_bytes(
    facts: ModelFacts,
    resolved: Resolved,
    card: Card,
    parts: _Parts,
    measured: Measured | None,
    *,
    caches: bool,
) -> tuple[int, Figure]:
    """(vLLM's budget, what is left of it for the KV cache)."""
    counted = parts.cudagraphs if counts_graphs(facts, resolved) else ZERO
    work = parts.weights + parts.activation + parts.non_torch + counted
    given = resolved.kv_cache_memory_bytes
    if card.cpu and given is None:
        given = CPU_KV_BYTES
    if not caches:
        return ceil(card.total_bytes * resolved.gpu_memory_utilization), ZERO
    if given is not None:
        return work.expected + given, exactly(given)
    budget = ceil(card.total_bytes * resolved.gpu_memory_utilization)
    if measured is not None and measured.kv_available_bytes is not None:
        return budget, within(measured.kv_available_bytes, 0.0005, "measured")
    origin = work.origin
    return budget, Figure(budget - work.expected, budget - work.high, budget - work.low, origin)


def _tokens(
    ranks: Ranks, room: Figure, resolved: Resolved, kv: KvCapacity | None, measured: Measured | None
) -> Figure:
    if kv is None:
        return ZERO
    if measured is not None and measured.kv_tokens is not None:
        return exactly(measured.kv_tokens, "measured")
    low = capacity(ranks, _each(room.low, resolved), resolved) or kv
    high = capacity(ranks, _each(room.high, resolved), resolved) or kv
    return Figure(kv.tokens, min(low.tokens, kv.tokens), max(high.tokens, kv.tokens), room.origin)


def _each(size: int, resolved: Resolved) -> tuple[int, ...]:
    """The same bytes on every pipeline rank: the rank that has least decides."""
    return (max(size, 0),) * resolved.pipeline_parallel


def _reach(ranks: Ranks, room: Figure, resolved: Resolved, facts: ModelFacts) -> int:
    return longest(ranks, _each(room.expected, resolved), resolved, facts.context)


def _verdict(facts: ModelFacts, found: MemoryNeed) -> tuple[Fate, str]:
    length = found.resolved.max_model_len
    if length > facts.context:
        return (
            "context",
            f"max_model_len {length:,} is more than the {facts.context:,} tokens that the model takes.",
        )
    if found.kv is None:
        return "fits", "This model keeps no KV cache."
    if found.kv_bytes.expected <= 0:
        return (
            "weights",
            f"{-found.kv_bytes.expected / GIB:.2f} GiB are missing before the KV cache gets any.",
        )
    if not found.kv.fits:
        return "kv", f"One request of {length:,} tokens does not fit; {found.kv.longest:,} would."
    return "fits", f"{found.kv.tokens:,} tokens of KV cache."
