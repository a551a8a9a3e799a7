"""Bytes a rank holds once vLLM has loaded the model: what its log calls "Model loading took".

The modules of the rank (`rank`), quantised where the model is (`packing`), are taken from a model of the
allocator (`allocator`) in the order in which vLLM creates them.
"""

from __future__ import annotations

from itertools import groupby

from infctl.figure import MIB, Figure, Origin
from infctl.models import ModelFacts, Quantization, Weight
from infctl.models.inventory import parameters
from infctl.sizing import Card, Resolved
from infctl.sizing.allocator import Allocator
from infctl.sizing.hardware import Generation, generation
from infctl.sizing.packing import (
    ONLINE_FP8,
    Parts,
    Skipped,
    bytes_of,
    create,
    method,
    packed_bytes,
    padded,
    scale_bytes,
    settle,
    zero_bytes,
)
from infctl.sizing.rank import Module, modules

__all__ = ["parameters", "stored", "weights"]

_BANDS = {
    "none": 0.002,
    "awq": 0.005,
    "mxfp4": 0.02,
    "gptq": 0.02,
    "fp8": 0.02,
    "compressed-tensors": 0.03,
    "bitsandbytes": 0.05,
}
"""Shares. Tensors that are not quantised were found to 0.005 GiB on an H100; the kernels that repack
quantised ones differ from one vLLM to the next."""
_OTHER_METHOD = 0.15
_OTHER_KERNELS = 0.02
"""More where quantised weights were never measured: on another card than Hopper, or on none we know."""
_UNKNOWN = 0.25
_LEAST = 8 * MIB
"""Of every band: scales, counters, and what a kernel keeps for itself."""


def weights(facts: ModelFacts, resolved: Resolved, card: Card | None = None) -> Figure:
    """Of the rank that needs most. The kernels that pack quantised weights differ between cards."""
    kind: Generation = "hopper" if card is None else generation(card)
    plain = card is not None and card.cpu
    held = max(
        _held(facts, resolved, kind, stage, plain=plain)
        for stage in range(max(1, resolved.pipeline_parallel))
    )
    return _less(_figure(facts, resolved, held, kind, sure=card is not None), resolved.cpu_offload_bytes)


def stored(facts: ModelFacts) -> int:
    """Bytes of all tensors in the checkpoint, as the safetensors headers would add up."""
    how = facts.quantization
    skipped = Skipped(how) if how else ()
    return sum(
        _stored(weight, how, skipped, facts.dtype) for weight in facts.weights if weight.only != "card"
    )


def _held(facts: ModelFacts, resolved: Resolved, kind: Generation, stage: int, *, plain: bool) -> int:
    """Bytes a rank of one pipeline stage holds; `plain`: memory that no caching allocator hands out."""
    card, dtype = Allocator(plain=plain), resolved.dtype
    how = method(facts, resolved)
    skipped = Skipped(how) if how else ()
    quantised: list[Parts] = []
    later: list[Module] = []
    for module in modules(facts, resolved, stage):
        if module.table:
            _table(card, module, dtype)
        elif how is None or not module.packed or module.name in skipped:
            widened = how is not None and how.method == "mxfp4" and module.experts and kind == "hopper"
            card.take(module.numbers * bytes_of("float32" if widened else module.dtype or dtype))
        elif how is ONLINE_FP8:
            later.append(module)
        else:
            quantised.append(create(card, padded(module, how, kind), how, dtype))
    for _, together in groupby(later, _loaded_with):
        _shrink(card, list(together), dtype)
    for parts in quantised:
        settle(card, parts, dtype, kind)
        _unpack(card, parts.module, dtype)
    return card.allocated


def _loaded_with(module: Module) -> str:
    """A layer's experts are loaded, and made smaller, all together; other modules one by one."""
    return module.name.partition(".experts.")[0] if module.experts else module.name


def _shrink(card: Allocator, together: list[Module], dtype: str) -> None:
    """FP8 made of 16 bit while loading, one module after the other; the 16 bit are given back."""
    whole = [card.take(module.numbers * bytes_of(dtype)) for module in together]
    for module in together:
        card.take(packed_bytes(module, ONLINE_FP8))
        card.take(scale_bytes(module, ONLINE_FP8, dtype))
    for block in whole:
        card.give_back(block)
    for module in together:
        _unpack(card, module, dtype)


def _unpack(card: Allocator, module: Module, dtype: str) -> None:
    """MLA multiplies with this one unpacked, and keeps the packed one too."""
    if module.name.endswith("kv_b_proj.weight"):
        card.take(module.numbers * bytes_of(dtype))


def _table(card: Allocator, module: Module, dtype: str) -> None:
    """Sines and cosines are computed in float32; what that needed stays cached, and is given to others."""
    rows, final = module.out, module.numbers * bytes_of(module.dtype or dtype)
    angles = 2 * rows * module.into
    steps = [card.take(4 * rows), *(card.take(angles) for _ in range(3))]
    joined = card.take(2 * angles)
    for block in steps:
        card.give_back(block)
    if final != 2 * angles:
        card.take(final)
        card.give_back(joined)


def _figure(facts: ModelFacts, resolved: Resolved, held: int, kind: Generation, *, sure: bool) -> Figure:
    """With its band, and corrected by what the checkpoint really holds where that was looked at."""
    how = method(facts, resolved)
    share = _BANDS.get(how.method if how else "none", _OTHER_METHOD)
    if how is not None and not (sure and kind == "hopper"):
        share += _OTHER_KERNELS
    beyond = _beyond(facts, resolved)
    if facts.stored_bytes is None:
        share = max(share, 0.0 if facts.known else _UNKNOWN)
        # A tower that sees or hears is in no inventory: it makes models up to a fifth larger.
        tower = held // 5 if facts.multimodal else 0
    else:
        share, tower = max(share, 0.0 if facts.known else 0.03), 0
    expected = held + beyond
    spread = max(_LEAST, int(expected * share))
    origin: Origin = "computed" if facts.known or facts.stored_bytes is not None else "assumed"
    return Figure(expected, max(0, expected - spread), expected + spread + tower, origin)


def _beyond(facts: ModelFacts, resolved: Resolved) -> int:
    """Bytes a rank holds more (or less) than the inventory says, by the checkpoint's headers."""
    known = stored(facts)
    if facts.stored_bytes is None or not known:
        return 0
    # A file in float32 is twice as long as what is loaded from it.
    wide = facts.quantization is None and facts.dtype != "float32" and facts.stored_bytes > 1.6 * known
    found = facts.stored_bytes // (2 if wide else 1)
    parts = max(1, resolved.tensor_parallel) * max(1, resolved.pipeline_parallel)
    difference = (found - known) * bytes_of(resolved.dtype) // bytes_of(facts.dtype)
    # Headers and padding are no doubt about the inventory.
    return difference // parts if abs(difference) > known // 500 else 0


def _less(figure: Figure, offloaded: int) -> Figure:
    """What is kept in the machine's memory instead."""
    return Figure(
        max(0, figure.expected - offloaded),
        max(0, figure.low - offloaded),
        max(0, figure.high - offloaded),
        figure.origin,
    )


def _stored(weight: Weight, how: Quantization | None, skipped: Skipped | tuple[()], dtype: str) -> int:
    count = weight.count * max(1, len(weight.layers))
    *stack, out, into = (1, *weight.shape) if len(weight.shape) == 1 else weight.shape
    for size in stack:
        count *= size
    module = Module(weight.name, out, into, count, experts=weight.split == "experts")
    if how is None or not weight.packed or weight.name in skipped:
        return module.numbers * bytes_of(weight.dtype if weight.stage != "last" and weight.dtype else dtype)
    return packed_bytes(module, how) + scale_bytes(module, how, dtype) + zero_bytes(module, how)
