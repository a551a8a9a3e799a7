"""What the plan decides of max_model_len and max_num_seqs where the profile leaves them open. Pure."""

from __future__ import annotations

from dataclasses import replace

from infctl.plan.asks import LEAST_CONTEXT, Sizer
from infctl.sizing import Card, EngineArgs, MemoryNeed

STEP = 1024
"""Tokens: lengths are multiples of it."""
AT_ONCE = 4.0
"""Requests of full length that a shortened context leaves room for, where it can without being tiny. Of
texts to embed, one is enough: it is done when it was read."""
USEFUL = 4096
"""Tokens: not shortened below this for the sake of more requests at once."""


def settled(sizer: Sizer, model: str, args: EngineArgs, card: Card) -> tuple[EngineArgs, MemoryNeed]:
    """`args` with what has to be written for the engine to start at all, and the need that follows.

    Only what is None in `args` is touched, and only where vLLM's default would not fit; what still does not
    fit then has its fate in the need.
    """
    found = sizer.need(model, args, card)
    if found.fate == "kv" and args.max_model_len is None:
        at_once = 1.0 if sizer.ask(model, card).pooling else AT_ONCE
        length = _length(sizer, model, args, card, found.max_model_len_that_fits, at_once)
        if length is not None:
            args = replace(args, max_model_len=length)
            found = sizer.need(model, args, card)
    if args.max_num_seqs is None and (most := states_at_once(sizer, model, found)) is not None:
        args = replace(args, max_num_seqs=most)
        found = sizer.need(model, args, card)
    return args, found


def states_at_once(sizer: Sizer, model: str, found: MemoryNeed) -> int | None:
    """The most requests at once where vLLM would refuse to start with more than it has blocks of state."""
    if found.kv is None or not sizer.facts[model].hybrid or not found.resolved.compiled:
        return None
    blocks = found.kv.num_blocks
    return blocks if 0 < blocks < found.resolved.max_num_seqs else None


def _length(sizer: Sizer, model: str, args: EngineArgs, card: Card, reach: int, wanted: float) -> int | None:
    """The longest context of which several requests fit, or at least one. None: not even LEAST_CONTEXT."""

    def at_once(steps: int) -> float:
        found = sizer.need(model, replace(args, max_model_len=steps * STEP), card)
        return found.kv.concurrency if found.fits and found.kv is not None else 0.0

    one = reach // STEP
    low, high = 0, one
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if at_once(middle) >= wanted else (low, middle - 1)
    best = low if low * STEP >= USEFUL else one
    while best * STEP >= LEAST_CONTEXT and at_once(best) < 1:
        best -= 1
    return best * STEP if best * STEP >= LEAST_CONTEXT else None
