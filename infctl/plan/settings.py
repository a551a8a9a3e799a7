"""vLLM's flags that the plan decides, each with the reason for its value. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infctl.figure import GIB, gib
from infctl.plan import kept
from infctl.plan.asks import Ask
from infctl.plan.model import GATE, KV_BYTES, LENGTH, SEQS, Setting
from infctl.plan.words import share
from infctl.sizing import EngineArgs, MemoryNeed


@dataclass(frozen=True, slots=True)
class Room:
    """An engine's place on its card."""

    free: int
    """Bytes of the card that the neighbours leave."""
    left: int
    """Bytes for all KV caches on the card that the plan decides."""
    shared: bool
    """They are of several engines."""
    running: Mapping[str, str]
    """The flags that the engine runs with now; empty: it does not run."""


def gate(ask: Ask, need: MemoryNeed, kv: int | None, free: int, now: Mapping[str, str]) -> float:
    """The share of the card to ask for at the start, three decimals, at most 1.

    vLLM compares it with what is free once its own CUDA context is there. So: what the engine takes beyond
    the context, rounded up; but never more than `free`, the bytes that the neighbours leave to it.
    """
    total = need.card.total_bytes
    wanted = ask.taken(kv).high - need.context.low
    most = math.floor((free - need.context.high) / total * 1000)
    value = max(min(math.ceil(wanted / total * 1000), most, 1000), 1) / 1000
    return kept.gate(value, most / 1000, now)


def settings(ask: Ask, args: EngineArgs, need: MemoryNeed, kv: int | None, room: Room) -> tuple[Setting, ...]:
    """`args`: what the engine will run with. `kv`: bytes of KV cache where the plan decides."""
    return tuple(_settings(ask, args, need, kv, room))


def _settings(ask: Ask, args: EngineArgs, need: MemoryNeed, kv: int | None, room: Room) -> Iterator[Setting]:
    if args.max_model_len != ask.args.max_model_len:
        own, length = f"{ask.need.resolved.max_model_len:,}", args.max_model_len or 0
        at_once = need.kv.concurrency if need.kv is not None else 0.0
        yield Setting(
            LENGTH,
            str(length),
            f"the model's own {own} tokens do not fit; of {length:,}, {at_once:.1f} requests fit at once",
        )
    if args.max_num_seqs != ask.args.max_num_seqs:
        default = ask.need.resolved.max_num_seqs
        yield Setting(
            SEQS, str(args.max_num_seqs), f"each request holds a block of state; {default} do not fit"
        )
    total = need.card.total_bytes
    if kv is not None:
        part = (
            "its part of" if room.shared else "most that it can use of" if kv < room.left - GIB else "all of"
        )
        why = f"{part} the {gib(room.left)} that weights, work and headroom leave of {gib(total)}"
        yield Setting(KV_BYTES, str(kv), why)
    if ask.args.gpu_memory_utilization is None:
        value = gate(ask, need, kv, room.free, room.running)
        asked = gib(math.ceil(value * total))
        if not ask.caches:
            why = f"the start gate: {asked} have to be free; an encoder keeps no KV cache"
        else:
            why = f"the start gate alone: {asked} have to be free; the KV cache has its bytes"
        yield Setting(GATE, share(value), why)
