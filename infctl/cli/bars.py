"""A bar of where memory goes, a character a share. Pure; understood without colour, and in ASCII."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Part = Literal["weights", "work", "kv", "other", "kept", "free"]


@dataclass(frozen=True, slots=True)
class Glyphs:
    weights: str
    work: str
    kv: str
    other: str
    kept: str
    free: str

    def of(self, part: Part) -> str:
        return str(getattr(self, part))

    def legend(self, parts: Collection[Part]) -> tuple[str, ...]:
        """The parts that are on the screen, in words."""
        return tuple(f"{self.of(part)} {_WORDS[part]}" for part in _WORDS if part in parts)


UNICODE = Glyphs(weights="█", work="▓", kv="▒", other="░", kept="╌", free="·")
ASCII = Glyphs(weights="#", work="+", kv="=", other="o", kept="-", free=".")
_WORDS: dict[Part, str] = {
    "weights": "weights",
    "work": "work",
    "kv": "KV cache",
    "other": "other engines",
    "kept": "kept free",
    "free": "unused",
}


def bar(parts: Sequence[tuple[Part, int]], width: int, glyphs: Glyphs) -> str:
    """`width` characters for bytes in order; empty for nothing at all.

    What an engine holds is seen, however little it is: only free bytes may get no character. Where there are
    more parts than characters, the last ones are cut.
    """
    there = [(part, count) for part, count in parts if count > 0][: max(width, 0)]
    total = sum(count for _, count in there)
    if not total:
        return ""
    shares = [count * width / total for _, count in there]
    least = [0 if part in {"free", "kept"} else 1 for part, _ in there]
    cells = [max(int(share), few) for share, few in zip(shares, least, strict=True)]
    while (lacking := width - sum(cells)) != 0:
        step = 1 if lacking > 0 else -1
        may = [n for n, cell in enumerate(cells) if step > 0 or cell > least[n]]
        # The part that is furthest from its true share gets or gives the character.
        cells[max(may, key=lambda n: step * (shares[n] - cells[n]))] += step
    return "".join(glyphs.of(part) * cell for cell, (part, _) in zip(cells, there, strict=True))
