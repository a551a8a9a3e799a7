"""What an engine already runs with, where that is as good as what the plan would write now. Pure.

A figure gets exact with time: weights are downloaded and then counted instead of computed. Engines are not
replaced for the few MiB that this moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from infctl.plan.allot import CARD_MARGIN, Allotment
from infctl.plan.model import GATE, KV_BYTES

Running = Mapping[str, Mapping[str, str]]
"""Service -> the flags of vLLM that it runs with, and their values."""

NOTHING_RUNS: Running = MappingProxyType({})

AS_GOOD = CARD_MARGIN // 2
"""Bytes: of KV cache less, or of all caches on a card more. The margin holds what is more."""
GATE_AS_GOOD = 0.01
"""Of the card."""


def shares(found: Allotment, flags: Sequence[Mapping[str, str]]) -> Allotment:
    """`flags`: what each engine runs with, in the order of the asks; empty where it does not run."""
    kept: list[int | None] = []
    for size, now in zip(found.kv, flags, strict=True):
        text = now.get(KV_BYTES, "")
        close = size is not None and text.isdigit() and abs(int(text) - size) <= AS_GOOD
        kept.append(int(text) if close else size)
    more = sum(
        new - old for new, old in zip(kept, found.kv, strict=True) if new is not None and old is not None
    )
    return replace(found, kv=tuple(kept)) if more <= AS_GOOD else found


def gate(value: float, most: float, flags: Mapping[str, str]) -> float:
    """`most`: what the neighbours leave."""
    try:
        now = float(flags.get(GATE, ""))
    except ValueError:
        return value
    return now if abs(now - value) <= GATE_AS_GOOD and now <= most else value
