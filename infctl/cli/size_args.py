"""What `infctl size` may be asked: each value checked, in vLLM's own words for its arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, TypeVar

from infctl.errors import UsageError

if TYPE_CHECKING:
    from infctl.sizing import Vllm

Word = TypeVar("Word", bound=str)

TOKENS_MAX = 10**9
BYTES_MAX = 2**50
DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
KV_DTYPES = ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2")
RUNNERS = ("auto", "generate", "pooling")
VERSIONS: tuple[Vllm, ...] = ("0.25", "0.32")


_CARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_SEVERAL = re.compile(r"([0-9]{1,9})\s*[xX*]\s*([A-Za-z].*)|(.+?)\s*:\s*([0-9]{1,9})")


def checked_card(option: str, value: str) -> str:
    """The name of one card, or `cpu`."""
    name = value.strip()
    if name.lower() in {"cpu", "none"}:
        return "cpu"
    if name.lower() == "detect":
        hint = "infctl plan --gpus detect looks at this machine"
        raise UsageError(f"{option} {name}: one card is named here", hint=hint)
    if several := _SEVERAL.fullmatch(name[:100]):
        count, card = several[1] or several[4], several[2] or several[3]
        hint = f"{option} {card} --tensor-parallel-size {count}, to cut the model across {count} of them"
        raise UsageError(f"{option} {name[:100]!r}: one card is named here", hint=hint)
    if not _CARD.fullmatch(name):
        raise UsageError(f"{option} {value[:40]!r} names no card", hint=f"{option} L4, or cpu")
    return name


def checked_share(option: str, value: float | None) -> float | None:
    """A share of the card: more than 0, at most 1."""
    if value is None or (math.isfinite(value) and 0 < value <= 1):
        return value
    raise UsageError(
        f"{option} {value:g}: not a share of the card", hint="more than 0 and at most 1, such as 0.9"
    )


def checked_word(option: str, value: str | None, known: Collection[Word]) -> Word | None:
    """One of a few words, or nothing."""
    if value is None:
        return None
    for word in known:
        if word == value:
            return word
    raise UsageError(f"{option} {value!r} is not known", hint=f"there are: {', '.join(known)}")


def checked_size(option: str, value: str | None) -> int | None:
    """`23622320128`, `22GiB` -> bytes."""
    if value is None:
        return None
    from infctl.profile.values import Misfit, size

    try:
        # A bare number is a number of bytes, which `size` takes as a number alone.
        count = size(int(value)) if value.strip().isdecimal() else size(value)
    except (Misfit, ValueError) as error:
        hint = getattr(error, "hint", "a number of bytes, or 22GiB")
        raise UsageError(f"{option} {value!r} is not a size in bytes", hint=hint) from None
    if not 1 <= count <= BYTES_MAX:
        raise UsageError(f"{option} {value!r} is not a size in bytes", hint="from 1 byte to 1 PiB")
    return count
