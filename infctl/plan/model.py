"""The values of a plan: which replica runs where, with which settings, and what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infctl.errors import Problem
from infctl.figure import Figure
from infctl.gpus import Gpu
from infctl.models import ModelFacts
from infctl.sizing import MemoryNeed

KV_BYTES = "--kv-cache-memory-bytes"
GATE = "--gpu-memory-utilization"
LENGTH = "--max-model-len"
SEQS = "--max-num-seqs"


@dataclass(frozen=True, slots=True)
class Setting:
    """One of vLLM's flags, and the reason for its value."""

    flag: str
    """`--kv-cache-memory-bytes`."""
    value: str
    why: str
    """A half sentence for a comment or a table: `what is left of 0.92 after weights and work`."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One engine and its place."""

    service: str
    """`chat0`, `chat1` where replicas is written, else the model's name."""
    model: str
    gpus: tuple[Gpu, ...] = ()
    """Empty: the CPU."""
    utilization: float | None = None
    """Share of the card to ask for, where the profile leaves it open and the card is shared."""
    settings: tuple[Setting, ...] = ()
    """What the plan decides beyond the profile. Empty where the model was not sized."""
    need: MemoryNeed | None = None
    """None: the model's config could not be read; placed by count alone."""
    starts_after: str | None = None
    """The service on the same GPU that has to answer first."""


@dataclass(frozen=True, slots=True)
class CardUse:
    """Where one card's memory goes."""

    gpu: Gpu
    services: tuple[str, ...]
    """In start order."""
    used: Figure
    """Bytes of all engines, contexts included."""
    headroom_bytes: int
    """Kept free on purpose: what vLLM takes at run time without having reserved it."""
    free_bytes: int
    """What nothing uses and nothing is kept for; 0 where a KV cache takes all there is."""


@dataclass(frozen=True, slots=True)
class IdleMemory:
    """Memory that nothing uses, and the best that could be done with it."""

    gpu: Gpu
    free_bytes: int
    model: str | None
    """Which model a further replica would fit of; None: none fits."""
    tokens: int
    """The KV tokens that replica would have."""
    change: str
    """What to write: `models/chat/replicas: 3`; empty: nothing fits."""
    says: str
    """The sentence."""


@dataclass(frozen=True, slots=True)
class Plan:
    replicas: tuple[Replica, ...]
    """In profile order."""
    gpus: tuple[Gpu, ...] = ()
    """All there are."""
    uses: tuple[CardUse, ...] = ()
    """One a card, in order of index; empty where nothing was sized."""
    idle_memory: tuple[IdleMemory, ...] = ()
    warnings: tuple[Problem, ...] = ()
    """What may go wrong, or was decided against what one would expect."""
    notes: tuple[Problem, ...] = ()
    """What is good to know and asks for nothing: what a figure of the profile really means."""
    facts: Mapping[str, ModelFacts] = field(default_factory=dict)
    """By the model's name in the profile."""

    @property
    def idle(self) -> tuple[Gpu, ...]:
        """Cards that nothing uses."""
        used = {gpu.index for replica in self.replicas for gpu in replica.gpus}
        return tuple(gpu for gpu in self.gpus if gpu.index not in used)
