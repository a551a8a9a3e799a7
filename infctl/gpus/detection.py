"""Which cards this machine has. NVML answers first; nvidia-smi where there is no NVML to ask."""

from __future__ import annotations

import importlib
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from infctl.errors import PlanError
from infctl.gpus import nvml as nvml_cards
from infctl.gpus.card import NAME_THEM, Gpu
from infctl.gpus.catalogue import lookup
from infctl.gpus.smi import QUERY, read_smi

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
            found = _in_time(lambda: nvml_cards.cards(library), timeout_s)
        except (ImportError, nvml_cards.NoNvml):
            found = ()
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


def _in_time(ask: Callable[[], tuple[Gpu, ...]], timeout_s: float) -> tuple[Gpu, ...]:
    """A library that hangs cannot be stopped, only left behind."""
    answers: list[tuple[Gpu, ...] | Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # noqa: BLE001 - carried to the caller, whatever it is
            answers.append(error)

    thread = threading.Thread(target=run, name="nvml", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not answers:
        raise PlanError(f"the NVIDIA driver did not answer within {timeout_s:g} s", hint=NAME_THEM)
    (answer,) = answers
    if isinstance(answer, Exception):
        raise answer
    return answer


def _smi(program: str, timeout_s: float) -> tuple[Gpu, ...]:
    query = (program, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=timeout_s, check=False)
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
