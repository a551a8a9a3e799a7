"""What each model asks of a card before anything is shared out: its fixed parts, and how much KV cache.

`Sizer` asks `infctl.sizing` once per question: planning compares many placements of the same few models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from infctl.calibration.lookup import Lookup
from infctl.figure import MIB, Figure, exactly
from infctl.gpus import Gpu
from infctl.models import ModelFacts
from infctl.plan.engine_args import engine_args
from infctl.profile.schema import Model
from infctl.sizing import DEPLOYED, Card, EngineArgs, MemoryNeed, Resolved, Vllm
from infctl.sizing.defaults import pools
from infctl.sizing.kv import bytes_for, refusal
from infctl.sizing.kv_specs import specs
from infctl.sizing.need import need
from infctl.sizing.overheads import runtime_headroom

USUAL_AT_ONCE = 32
"""Requests of full length; few engines ever compute as many as vLLM's own limit of 256 or 1,024."""

LEAST_CONTEXT = 2048
"""Tokens. Where the profile leaves max_model_len open, the plan shortens it at most to this."""

UNKNOWN_MEMORY = 2**50
"""Bytes: what nobody looked at is taken for enough."""


def nothing_measured(_model: str, _args: EngineArgs, _card: Card) -> None:
    """For plans that follow from the models' files alone."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One replica of one model on one kind of card, a rank."""

    model: str
    args: EngineArgs
    """As the profile has them."""
    need: MemoryNeed
    """With those arguments alone on the card."""
    fixed: Figure
    """Bytes without the KV cache, context included: compiling is over before the cache gets its memory."""
    least: int
    """Bytes of KV cache for one request; 0: none is kept, or it is not the plan's to decide."""
    wish: int
    """Bytes of KV cache that would be plenty: neighbours share what there is in this proportion."""
    headroom: int
    """Bytes it takes at run time without having reserved them."""
    pooling: bool
    refused: str | None
    """Why vLLM would not take this model with these arguments on any card."""

    @property
    def caches(self) -> bool:
        return self.need.kv is not None

    @property
    def budget(self) -> int | None:
        """Bytes that vLLM takes in any case: a share of the card that the user wrote."""
        own = self.caches and self.args.gpu_memory_utilization is not None
        return self.need.budget_bytes if own else None

    @property
    def given(self) -> int | None:
        """Bytes of KV cache that the user wrote."""
        return self.args.kv_cache_memory_bytes if self.caches else None

    @property
    def open(self) -> bool:
        """The plan decides how much KV cache it gets."""
        return self.caches and self.budget is None and self.given is None

    @property
    def bounded(self) -> bool:
        """More memory would not help it: it keeps no cache, or one of a size that is known."""
        return not self.caches or self.given is not None or (self.open and self.pooling)

    def taken(self, kv: int | None) -> Figure:
        """What the card loses to it, with `kv` bytes of KV cache where the plan decides."""
        if self.budget is not None:
            return exactly(max(self.budget, self.fixed.low - self.need.context.low)) + self.need.context
        return self.fixed + exactly((self.given if kv is None else kv) or 0)


@dataclass(frozen=True, slots=True)
class Sizer:
    """All that is known of the models."""

    models: Mapping[str, Model]
    facts: Mapping[str, ModelFacts]
    measured: Lookup = nothing_measured
    vllm: Vllm = DEPLOYED
    machine_bytes: int = UNKNOWN_MEMORY
    """Of the machine, for engines on its CPU."""
    _needs: dict[tuple[str, EngineArgs, Card], MemoryNeed] = field(default_factory=dict)
    _asks: dict[tuple[str, EngineArgs, Card], Ask] = field(default_factory=dict)

    def knows(self, model: str) -> bool:
        return model in self.facts

    def ask(self, model: str, card: Card) -> Ask:
        """KeyError for a model nobody has facts of: see `knows`."""
        args = engine_args(self.models[model], self.vllm)
        key = (model, args, card)
        if key not in self._asks:
            self._asks[key] = self._ask(model, args, card)
        return self._asks[key]

    def need(self, model: str, args: EngineArgs, card: Card) -> MemoryNeed:
        key = (model, args, card)
        if key not in self._needs:
            seen = self.measured(model, engine_args(self.models[model], self.vllm), card)
            if seen is not None and args.kv_cache_memory_bytes is not None:
                # Given bytes, blocks and tokens follow exactly; what was reported may be of other bytes.
                seen = replace(
                    seen, kv_available_bytes=None, num_gpu_blocks=None, kv_tokens=None, concurrency=None
                )
            self._needs[key] = need(self.facts[model], args, card, measured=seen)
        return self._needs[key]

    def _ask(self, model: str, args: EngineArgs, card: Card) -> Ask:
        found = self.need(model, args, card)
        pooling = pools(self.facts[model], args)
        facts = replace(self.facts[model], pooling=pooling)
        refused, least, wish = _cache(
            facts, found.resolved, pooling=pooling, open_length=args.max_model_len is None
        )
        return Ask(
            model=model,
            args=args,
            need=found,
            fixed=found.weights + found.work(least if args.kv_cache_memory_bytes is None else 0),
            least=least,
            wish=max(wish, least),
            headroom=runtime_headroom(facts, found.resolved),
            pooling=pooling,
            refused=refused,
        )


def _cache(
    facts: ModelFacts, resolved: Resolved, *, pooling: bool, open_length: bool
) -> tuple[str | None, int, int]:
    """(why vLLM refuses, least, wish), bytes a rank."""
    ranks = specs(facts, resolved)
    if refused := refusal(ranks, resolved):
        return refused, 0, 0
    shortest = min(resolved.max_model_len, LEAST_CONTEXT) if open_length else resolved.max_model_len
    least = bytes_for(ranks, 1, replace(resolved, max_model_len=shortest))
    # A pooled request is done with its last token: beside the longest one, a cache holds what is in flight.
    batch = -(-resolved.in_flight_tokens // resolved.max_model_len)
    requests = 1 + batch if pooling else min(resolved.max_num_seqs, USUAL_AT_ONCE)
    return None, _whole(least), _whole(bytes_for(ranks, requests, resolved))


def _whole(size: int) -> int:
    """Up to whole MiB: a figure a person can read, and one that a byte more elsewhere does not change."""
    return -(-size // MIB) * MIB


def card_of(gpus: tuple[Gpu, ...]) -> Card | None:
    """What sizing sees of the cards of one replica: the smallest. None: its memory is not known."""
    smallest = min(gpus, key=lambda gpu: gpu.memory_bytes)
    if smallest.memory_bytes <= 0:
        return None
    return Card(smallest.name or "GPU", smallest.memory_bytes, capability=smallest.capability)
