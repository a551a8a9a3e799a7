"""How the bytes of one card are shared out among its engines. Pure.

The sum rule: contexts + weights + non-torch + activation + graphs + KV caches + headroom <= total, each part
at its high end. vLLM given bytes for its KV cache measures nothing: nothing would correct a plan too tight.

1. What is fixed goes first: an engine without a cache, a share or a KV cache that the user wrote.
2. Every other engine gets the KV cache of one request.
3. Engines that embed or score get what they wish, as long as it is not more than their part.
4. The rest goes to those that generate, in proportion to what they could use at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infctl.figure import MIB
from infctl.plan.asks import Ask

CARD_MARGIN = 256 * MIB
"""Kept free on each card: fragments of PyTorch's allocator, and kernels that are loaded by the first request
that needs them."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """Who gets what."""

    kv: tuple[int | None, ...]
    """Bytes of KV cache in the order of the asks; None: not the plan's to decide."""
    headroom: int
    missing: int
    """Bytes; 0: all get at least the least."""
    left: int
    """Bytes for the KV caches that are open; negative: missing already before them."""


def allot(asks: Sequence[Ask], total: int) -> Allotment:
    """`total`: the card's bytes."""
    mine = [ask for ask in asks if ask.budget is None]
    headroom = CARD_MARGIN + sum(ask.headroom for ask in asks)
    fixed = sum(ask.taken(None if not ask.open else 0).high for ask in asks)
    # A share that the user wrote may use the card up; that is a warning, not a refusal.
    left = total - fixed - (headroom if mine else 0)
    open_ = [ask for ask in asks if ask.open]
    least = sum(ask.least for ask in open_)
    if left < least:
        kv = tuple(ask.least if ask.open else None for ask in asks)
        return Allotment(kv, headroom, least - left, left)
    return Allotment(_share_out(asks, left), headroom, 0, left)


def _share_out(asks: Sequence[Ask], left: int) -> tuple[int | None, ...]:
    open_ = [ask for ask in asks if ask.open]
    spare = left - sum(ask.least for ask in open_)
    wishes = sum(ask.wish for ask in open_)
    pooled = {
        index: min(ask.wish - ask.least, spare * ask.wish // wishes)
        for index, ask in enumerate(asks)
        if ask.open and ask.pooling
    }
    rest = spare - sum(pooled.values())
    generating = sum(ask.wish for ask in open_ if not ask.pooling)
    kv: list[int | None] = []
    for index, ask in enumerate(asks):
        if not ask.open:
            kv.append(None)
            continue
        more = pooled[index] if ask.pooling else rest * ask.wish // generating
        kv.append((ask.least + more) // MIB * MIB)
    return tuple(kv)
