"""Bytes of quantised matrices: as they are created, and what the kernels make of them.

A matrix of (out, into) numbers; `groups` of them along its inputs share a scale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property

from infctl.models import ModelFacts, Quantization
from infctl.sizing import DTYPE_BYTES, Resolved
from infctl.sizing.allocator import Allocator, Block
from infctl.sizing.hardware import Generation
from infctl.sizing.rank import Module, fused

MX_GROUP = 32
ONLINE_FP8 = Quantization("fp8", bits=8, name="fp8")


def bytes_of(dtype: str) -> int:
    """Of one number."""
    return DTYPE_BYTES.get(dtype, 2)


def method(facts: ModelFacts, resolved: Resolved) -> Quantization | None:
    """Of the file, or what `--quantization` makes of a file that is not quantised."""
    if facts.quantization is not None and facts.quantization.method != "none":
        return facts.quantization
    if resolved.quantization in {"fp8", "fp8_per_tensor", "fp8_per_block"}:
        return ONLINE_FP8
    if resolved.quantization == "bitsandbytes":
        return Quantization("bitsandbytes", bits=4, name="bitsandbytes")
    return None


@dataclass(frozen=True)
class Skipped:
    """Which modules stay as they are: names, parts of names, `*` and `re:` patterns."""

    how: Quantization
    seen: dict[str, bool] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        name = name.removesuffix(".weight")
        if name not in self.seen:
            self.seen[name] = self.how.method == "mxfp4" and ".experts." not in name
            self.seen[name] |= bool(self.how.skip) and self._pattern.search(name) is not None
        return self.seen[name]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """One for all: a file may name every matrix of every layer."""
        words = []
        named = [*self.how.skip, *(fused(word) for word in self.how.skip)]
        for word in dict.fromkeys(named):
            if word.startswith("re:"):
                words.append(word[3:])
            else:
                words.append(rf"(?:^|\.){re.escape(word).replace(re.escape('*'), '[^.]+')}(?:\.|$)")
        try:
            return re.compile("|".join(f"(?:{word})" for word in words))
        except re.error:
            return re.compile("(?!)")


@dataclass(slots=True)
class Parts:
    """The blocks of one quantised module."""

    module: Module
    how: Quantization
    matrix: Block
    scales: Block
    zeros: Block | None = None


def packed_bytes(module: Module, how: Quantization) -> int:
    """The numbers alone."""
    return -(-module.numbers * how.bits // 8)


def groups(module: Module, how: Quantization) -> int:
    """Scales of one output."""
    return max(1, -(-module.into // how.group_size)) if how.group_size > 0 else 1


def scale_bytes(module: Module, how: Quantization, dtype: str) -> int:
    """All scales of the module."""
    if how.method == "mxfp4":
        return module.count * module.out * -(-module.into // MX_GROUP)
    if how.method == "fp8" and how.block:
        high, wide = how.block
        return 4 * module.count * -(-module.out // high) * -(-module.into // wide)
    if how.method == "fp8":
        return 4 * module.count
    if how.method == "bitsandbytes":
        return 4 * (-(-module.numbers // 64) if how.bits == 4 else module.out * module.count)
    if how.name.endswith("fp4") and how.group_size > 0:
        return module.count * module.out * groups(module, how)  # of one byte each
    if how.method == "compressed-tensors" and how.bits == 8:
        return 4 * module.count * module.out
    return bytes_of(dtype) * module.count * module.out * groups(module, how)


def zero_bytes(module: Module, how: Quantization) -> int:
    """Zero points, packed like the numbers."""
    return module.count * groups(module, how) * module.out * how.bits // 8 if how.zero_points else 0


def create(card: Allocator, module: Module, how: Quantization, dtype: str) -> Parts:
    matrix = card.take(packed_bytes(module, how))
    zeros = zero_bytes(module, how)
    zero_points = card.take(zeros) if zeros else None
    return Parts(module, how, matrix, card.take(scale_bytes(module, how, dtype)), zero_points)


def settle(card: Allocator, parts: Parts, dtype: str, generation: Generation) -> None:
    """What the kernels make of it once everything is loaded. Only what stays, or leaves a mark, is played."""
    how = parts.how
    integers = how.method in {"awq", "gptq"} or (how.method == "compressed-tensors" and how.bits == 4)
    if integers and not parts.module.experts:
        _settle_integers(card, parts, dtype, generation)
    elif how.method == "mxfp4" and generation == "hopper":
        _settle_mxfp4(card, parts)


def _settle_integers(card: Allocator, parts: Parts, dtype: str, generation: Generation) -> None:
    """AWQ's order of bits becomes the usual one, through tensors of 4 bytes a number; then the kernel packs.

    Hopper's kernel (Machete) wants zero points as numbers of the model's dtype, the others' (Marlin) packed.
    """
    module, how = parts.module, parts.how
    matrix = packed_bytes(module, how)
    zeros = zero_bytes(module, how)
    if how.method == "awq":
        usual = _reordered(card, 4 * module.numbers, matrix)
        usual_zeros = _reordered(card, 4 * zeros * 8 // how.bits, zeros) if zeros else ()
        card.give_back(usual[0])
        for block in usual_zeros[:1]:
            card.give_back(block)
        card.give_back(parts.matrix)
        parts.matrix = usual[1]
        if usual_zeros and parts.zeros:
            card.give_back(parts.zeros)
            parts.zeros = usual_zeros[1]
    turned = card.take(matrix)
    final = card.take(matrix)
    card.give_back(turned)
    card.give_back(parts.matrix)
    parts.matrix = final
    if parts.zeros is not None and generation == "hopper" and how.method != "gptq":
        numbers = zeros * 8 // how.bits
        whole = card.take(4 * numbers)
        steps = [card.take(numbers * bytes_of(dtype)) for _ in range(3)]
        for block in (whole, *steps[:2], parts.zeros):
            card.give_back(block)
        parts.zeros = steps[2]


def _reordered(card: Allocator, unpacked: int, packed: int) -> tuple[Block, Block]:
    """(what the last step of unpacking still holds, the packed result)."""
    shifted = card.take(unpacked)
    masked = card.take(unpacked)
    card.give_back(shifted)
    ordered = card.take(unpacked)
    card.give_back(masked)
    lifted = card.take(unpacked)
    result = card.take(packed)
    card.give_back(lifted)
    return ordered, result


def _settle_mxfp4(card: Allocator, parts: Parts) -> None:
    """Hopper's kernel wants the numbers in another order, and the scales' rows in whole tiles."""
    module = parts.module
    tile = 256
    numbers = card.take(packed_bytes(module, parts.how))
    scales = card.take(module.count * -(-module.out // tile) * tile * -(-module.into // MX_GROUP))
    card.give_back(parts.matrix)
    card.give_back(parts.scales)
    parts.matrix, parts.scales = numbers, scales


def padded(module: Module, how: Quantization, generation: Generation) -> Module:
    """MXFP4 experts are created with room to whole tiles: (intermediate, hidden) as the kernel wants them."""
    if how.method != "mxfp4" or not module.experts:
        return module
    # Hopper's Triton kernel pads to 64, Blackwell's to 256; Marlin, elsewhere, to 128 and 256.
    inner, outer = {"hopper": (64, 1), "blackwell": (256, 256)}.get(generation, (128, 256))
    if module.name.endswith("gate_up_proj"):
        return replace(module, out=2 * _up(module.out // 2, inner), into=_up(module.into, outer))
    return replace(module, out=_up(module.out, outer), into=_up(module.into, inner))


def _up(size: int, step: int) -> int:
    return -(-size // step) * step
