"""How figures and lists are said in a plan's sentences."""

from __future__ import annotations

from collections.abc import Sequence

from infctl.gpus import Gpu


def share(value: float) -> str:
    """`0.90`, `0.845`."""
    return f"{value:.3f}".removesuffix("0")


def names(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def cards(gpus: Sequence[Gpu]) -> str:
    """`GPU 0`, `GPUs 0 and 1`."""
    return f"GPU{'s' * (len(gpus) > 1)} {names([str(gpu.index) for gpu in gpus])}"


def ordinal(number: int) -> str:
    """`third`; from ten on `10th`."""
    words = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
    return words[number - 1] if number <= len(words) else f"{number}th"
