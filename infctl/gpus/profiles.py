"""Which GPUs there are: asked of the driver, or taken from the profile. Values are frozen.

for_profile(gpus)   the cards a profile's `gpus` means, on this machine or from the catalogue
detect()            what nvidia-smi lists
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from types import MappingProxyType

from infctl.errors import PlanError
from infctl.profile.schema import GpuDevice, Gpus

SMI_TIMEOUT_S = 20.0
"""A cold driver takes some seconds; a hung one must not hang us."""

NAME_THEM = (
    "write the cards this is for, such as `gpus: 1xL4` (none: `gpus: cpu`), in the profile or in a file"
    " after it: `-f one-gpu.yaml -f cards.yaml`"
)
"""What to do where the machine cannot say which cards there are."""

_GIB = 2**30

# What cudaMemGetInfo calls total: vLLM's utilisation is a share of it, and it is less than the label says.
# Only cards whose figure was seen. L4: vLLM's own start-up line on the reference platform ("22.05 GiB").
# H100: the 80 GB SXM card under driver 580 ("79.19 GiB"). Others are planned for with memory unknown.
CATALOGUE = MappingProxyType({"L4": int(22.05 * _GIB), "H100": int(79.19 * _GIB)})


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card."""

    index: int
    """As nvidia-smi counts: by PCI bus."""
    name: str = ""
    uuid: str = ""
    """Empty: not known (the card is planned for, not looked at)."""
    memory_bytes: int = 0
    """In all; 0: not known."""


def for_profile(gpus: Gpus) -> tuple[Gpu, ...]:
    """Empty for `gpus: cpu`. Raises PlanError where the machine has to be asked and cannot answer."""
    if gpus.kind == "cpu":
        return ()
    if gpus.kind == "listed":
        return listed(gpus.devices)
    return detect()


def listed(devices: tuple[GpuDevice, ...]) -> tuple[Gpu, ...]:
    """Cards as the profile writes them; those without an index take the free ones in order. Pure."""
    taken = {device.index for device in devices if device.index is not None}
    free = iter(n for n in range(len(devices) + len(taken)) if n not in taken)
    cards = [
        Gpu(
            index=device.index if device.index is not None else next(free),
            name=device.name or "",
            uuid=device.uuid or "",
            memory_bytes=device.memory or CATALOGUE.get((device.name or "").removeprefix("NVIDIA "), 0),
        )
        for device in devices
    ]
    return tuple(sorted(cards, key=lambda card: card.index))


def detect(program: str = "nvidia-smi") -> tuple[Gpu, ...]:
    """Asks the driver. Raises PlanError with the reason if it does not answer or names no card."""
    query = (program, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise PlanError("no NVIDIA driver was found here (nvidia-smi is missing)", hint=NAME_THEM) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PlanError(f"nvidia-smi did not answer: {error}", hint=NAME_THEM) from None
    if answer.returncode != 0:
        said = (answer.stdout + answer.stderr).strip().splitlines()
        raise PlanError("nvidia-smi failed", log=said[-5:], hint=NAME_THEM)
    cards = read_smi(answer.stdout)
    if not cards:
        raise PlanError("nvidia-smi lists no GPU", hint=NAME_THEM)
    return cards


def read_smi(text: str) -> tuple[Gpu, ...]:
    """`0, GPU-..., NVIDIA L4, 23034` a line -> cards. MiB become bytes; other lines are skipped."""
    cards = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[0].isdigit():
            mib = int(parts[3]) if parts[3].isdigit() else 0
            cards.append(Gpu(int(parts[0]), parts[2].removeprefix("NVIDIA "), parts[1], mib * 2**20))
    return tuple(sorted(cards, key=lambda card: card.index))
