"""What `infctl size` may be asked: each value checked, in vLLM's own words for its arguments."""

from __future__ import annotations

import math
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
