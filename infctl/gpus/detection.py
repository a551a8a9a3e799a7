"""Which cards this machine has. NVML answers first; nvidia-smi where there is no NVML to ask."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from infctl.errors import PlanError
from infctl.gpus import nvml as nvml_cards
from infctl.gpus.card import NAME_THEM, Gpu
from infctl.gpus.catalogue import lookup
from infctl.gpus.smi import QUERY, read_smi
from infctl.in_time import answer

SMI_TIMEOUT_S = 20.0
"""A cold driver takes some seconds; a hung one must not hang us. For NVML, too."""
SAME_CARD = 0.96
"""A measured total below this share of what the driver counts is of another make of the card (ECC or not)."""


def detect(
    program: str | None = None, *, nvml: Any = None, timeout_s: float = SMI_TIMEOUT_S
) -> tuple[Gpu, ...]:
    """By PCI bus. Raises PlanError with the reason if nobody answers or there is no card.

    `program`: ask this nvidia-smi and nobody else. `nvml`: ask this instead of the module pynvml.
    """
    if program is None:
        try:
            library = importlib.import_module("pynvml") if nvml is None else nvml
            found = answer(lambda: nvml_cards.cards(library), timeout_s)
        except (ImportError, nvml_cards.NoNvml):
            found = ()
        except TimeoutError:
            message = f"the NVIDIA driver did not answer within {timeout_s:g} s"
            raise PlanError(message, hint=NAME_THEM) from None
        if found:
            return tuple(as_measured(card) for card in found)
    return tuple(as_measured(card) for card in _smi(program or "nvidia-smi", timeout_s))


def as_measured(card: Gpu) -> Gpu:
    """With the memory that cudaMemGetInfo gave for such a card, where that is known."""
    known = lookup(card.name)
    if known is None:
        return card
    capability = card.capability or known.capability
    fits = SAME_CARD * card.memory_bytes <= known.memory_bytes <= card.memory_bytes * 1.01
    if known.nominal or not (fits or card.memory_bytes == 0):
        return replace(card, capability=capability)
    return replace(card, memory_bytes=known.memory_bytes, capability=capability)


def _smi(program: str, timeout_s: float) -> tuple[Gpu, ...]:
    import subprocess  # noqa: PLC0415 - 15 ms that no plan for named cards needs

    query = (program, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise PlanError("no NVIDIA driver was found here (nvidia-smi is missing)", hint=NAME_THEM) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PlanError(f"nvidia-smi did not answer: {error}", hint=NAME_THEM) from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise PlanError("nvidia-smi failed", log=said[-5:], hint=NAME_THEM)
    cards = read_smi(done.stdout)
    if not cards:
        raise PlanError("nvidia-smi lists no GPU", hint=NAME_THEM)
    return cards
