"""What nvidia-smi prints -> cards. Pure."""

from __future__ import annotations

import re

from infctl.gpus.card import Gpu

QUERY = "index,uuid,name,memory.total"
NAME_MAX = 100

_MEMORY = re.compile(r"(\d{1,9})(?: MiB)?")


def read_smi(text: str) -> tuple[Gpu, ...]:
    """`0, GPU-..., NVIDIA L4, 23034 MiB` a line -> cards; other lines are skipped.

    The memory is as nvidia-smi says it, which is more than an engine gets; `[N/A]` becomes 0.
    """
    cards = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[0].isdecimal() and len(parts[0]) < 4:
            memory = _MEMORY.fullmatch(parts[3])
            mib = int(memory[1]) if memory else 0
            uuid, name = (_printable(part) for part in parts[1:3])
            cards.append(Gpu(int(parts[0]), name.removeprefix("NVIDIA "), uuid, mib * 2**20))
    return tuple(sorted(cards, key=lambda card: card.index))


def _printable(text: str) -> str:
    """What a terminal shows as it is, however odd the file."""
    return "".join(letter for letter in text[:NAME_MAX] if letter.isprintable())
