"""One GPU, as planning needs to know it. A value only."""

from __future__ import annotations

from dataclasses import dataclass

GPUS_MAX = 64
"""Of one machine; what a profile may list, too."""

NAME_THEM = (
    "write the cards this is for, such as `gpus: 1xL4` (none: `gpus: cpu`), in the profile or in a file"
    " after it: `-f one-gpu.yaml -f cards.yaml`"
)
"""What to do where the machine cannot say which cards there are."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card."""

    index: int
    """As nvidia-smi counts: by PCI bus."""
    name: str = ""
    uuid: str = ""
    """Empty: not known (the card is planned for, not looked at)."""
    memory_bytes: int = 0
    """In all, as cudaMemGetInfo counts (less than the label says); 0: not known."""
    nominal: bool = False
    """The memory follows from a data sheet, nobody has measured it."""
    free_bytes: int | None = None
    """When it was looked at; None: it was not."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability, (8, 9); None: not known."""
