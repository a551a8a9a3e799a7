"""Which GPUs there are: asked of the driver, read from the profile, or named on the command line.

card        Gpu, the value all others give
catalogue   a card's name -> its memory, measured or nominal
profiles    the cards a profile's `gpus` means
written     `--gpus 4xL4|h100:2|detect|FILE` -> cards
listing     a file of cards
detection   what NVML says, or nvidia-smi where NVML does not answer
"""

from __future__ import annotations

from infctl.gpus.card import GPUS_MAX, NAME_THEM, Gpu
from infctl.gpus.catalogue import CARDS, CATALOGUE, CatalogueCard, lookup, nearest
from infctl.gpus.detection import SMI_TIMEOUT_S, detect
from infctl.gpus.profiles import for_profile, listed
from infctl.gpus.smi import read_smi
from infctl.gpus.written import parse

__all__ = [
    "CARDS",
    "CATALOGUE",
    "GPUS_MAX",
    "NAME_THEM",
    "SMI_TIMEOUT_S",
    "CatalogueCard",
    "Gpu",
    "detect",
    "for_profile",
    "listed",
    "lookup",
    "nearest",
    "parse",
    "read_smi",
]
