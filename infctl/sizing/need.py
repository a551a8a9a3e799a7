"""Everything joined: what a replica needs of its card, what its KV cache then holds, whether it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

from infctl.figure import ZERO, Figure, exactly, within
from infctl.models import ModelFacts
from infctl.sizing import Card, EngineArgs, KvCapacity, Measured, MemoryNeed, Resolved
from infctl.sizing.activation import activation, serving
from infctl.sizing.defaults import CPU_KV_BYTES, pools, resolve
from infctl.sizing.graphs import counts_graphs, cudagraphs, left_by_profiling
from infctl.sizing.kv import capacity, longest
from infctl.sizing.kv_specs import Ranks, specs
from infctl.sizing.overheads import context, non_torch
from infctl.sizing.verdict import verdict
from infctl.sizing.weights import weights

NOTHING_MEASURED = Measured()

LOG_ROUNDING = 0.005
"""vLLM's log says GiB with two places; of a part that is half a percent at most that matters."""


@dataclass(frozen=True, slots=True)
class _Parts:
    weights: Figure
    activation: Figure
    serving: Figure
    cudagraphs: Figure
    non_torch: Figure
    context: Figure

    def counted(self, facts: ModelFacts, resolved: Resolved) -> Figure:
        """What vLLM subtracts from its budget before the KV cache gets the rest."""
        graphs = self.cudagraphs if counts_graphs(facts, resolved) else ZERO
        return self.weights + self.activation + self.non_torch + graphs


def need(facts: ModelFacts, args: EngineArgs, card: Card, *, measured: Measured | None = None) -> MemoryNeed:
    """One replica of `facts` with `args` on `card`: a rank. Pure; what cannot run says why, nothing raises.

    `measured`: what an engine with these very settings reported; it takes the place of the planned figures.
    """
    facts = replace(facts, pooling=pools(facts, args))
    seen = measured or NOTHING_MEASURED
    resolved = resolve(facts, args, card)
    ranks = specs(facts, resolved)
    parts = _parts(facts, resolved, card, seen)
    budget, room = _kv_bytes(facts, resolved, card, parts, ranks, seen)
    kv = capacity(ranks, _each(room.expected, resolved), resolved)
    joined = MemoryNeed(
        resolved=resolved,
        card=card,
        budget_bytes=budget,
        weights=parts.weights,
        activation=parts.activation,
        serving=parts.serving,
        cudagraphs=parts.cudagraphs,
        non_torch=parts.non_torch,
        context=parts.context,
        kv_bytes=room,
        kv=kv,
        kv_tokens=_tokens(ranks, room, resolved, kv, seen),
        fate="fits",
        reason="",
        max_model_len_that_fits=longest(ranks, _each(room.expected, resolved), resolved, facts.context),
        warnings=facts.warnings,
    )
    fate, reason = verdict(facts, ranks, joined)
    return replace(joined, fate=fate, reason=reason)


def _parts(facts: ModelFacts, resolved: Resolved, card: Card, seen: Measured) -> _Parts:
    peak = _preferred(seen.activation_bytes, activation(facts, resolved, card))
    served = serving(facts, resolved, card)
    return _Parts(
        _preferred(seen.weights_bytes, _weights(facts, _cut(resolved), card)),
        peak,
        # A start that found everything compiled reports no more than serving needs.
        peak if peak.expected < served.expected else served,
        _preferred(seen.cudagraph_bytes, cudagraphs(facts, resolved, card)),
        _preferred(
            seen.non_torch_bytes, non_torch(resolved, card) + left_by_profiling(facts, resolved, card)
        ),
        context(card),
    )


@lru_cache(maxsize=256)
def _weights(facts: ModelFacts, resolved: Resolved, card: Card) -> Figure:
    """Looking for what would fit asks for the same weights again and again; only how they are cut matters."""
    return weights(facts, resolved, card)


def _cut(resolved: Resolved) -> Resolved:
    """Without what says nothing about weights."""
    return replace(
        resolved,
        max_model_len=0,
        max_num_seqs=0,
        max_num_batched_tokens=0,
        gpu_memory_utilization=0.0,
        kv_cache_memory_bytes=None,
        kv_dtype="",
        block_size=0,
        async_scheduling=False,
        prefix_caching=False,
        hybrid_kv_cache=False,
        compiled=False,
    )


def _preferred(seen: int | None, planned: Figure) -> Figure:
    return planned if seen is None else within(seen, LOG_ROUNDING, "measured")


def _kv_bytes(
    facts: ModelFacts, resolved: Resolved, card: Card, parts: _Parts, ranks: Ranks, seen: Measured
) -> tuple[int, Figure]:
    """(vLLM's budget, what is left of it for the KV cache)."""
    counted = parts.counted(facts, resolved)
    budget = ceil(card.total_bytes * resolved.gpu_memory_utilization)
    if not any(ranks):
        return budget, ZERO
    given = resolved.kv_cache_memory_bytes
    if card.cpu and given is None:
        given = CPU_KV_BYTES
    if given is not None:
        return counted.expected + given, exactly(given)
    if seen.num_gpu_blocks is not None and (kv := capacity(ranks, _each(budget, resolved), resolved)):
        return budget, exactly(seen.num_gpu_blocks * kv.bytes_per_block, "measured")
    if seen.kv_available_bytes is not None:
        return budget, within(seen.kv_available_bytes, LOG_ROUNDING / 10, "measured")
    left = Figure(budget - counted.expected, budget - counted.high, budget - counted.low, counted.origin)
    return budget, left


def _tokens(ranks: Ranks, room: Figure, resolved: Resolved, kv: KvCapacity | None, seen: Measured) -> Figure:
    if kv is None:
        return ZERO
    if seen.kv_tokens is not None:
        return exactly(seen.kv_tokens, "measured")
    low = capacity(ranks, _each(room.low, resolved), resolved) or kv
    high = capacity(ranks, _each(room.high, resolved), resolved) or kv
    return Figure(kv.tokens, min(low.tokens, kv.tokens), max(high.tokens, kv.tokens), room.origin)


def _each(size: int, resolved: Resolved) -> tuple[int, ...]:
    """The same bytes on every pipeline rank: the rank that has least of them decides."""
    return (max(size, 0),) * resolved.pipeline_parallel
