"""How busy each card is at this moment, as its driver says: for people who watch. Asked of NVML."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from infctl.gpus.card import GPUS_MAX
from infctl.in_time import answer


@dataclass(frozen=True, slots=True)
class Busy:
    """None: the driver does not say."""

    index: int
    """In NVML's order, which is that of the PCI bus."""
    name: str
    used_bytes: int | None = None
    memory_bytes: int | None = None
    load: float | None = None
    """Share of the last moments in which a kernel ran, 0 to 1."""
    celsius: int | None = None
    watts: float | None = None


def look(*, nvml: Any = None, timeout_s: float) -> tuple[Busy, ...]:
    """Empty: there is no driver, or it does not answer. `nvml`: ask this instead of the module pynvml."""
    try:
        library = importlib.import_module("pynvml") if nvml is None else nvml
        return answer(lambda: tuple(_cards(library)), timeout_s)
    except (ImportError, TimeoutError):
        return ()


def _cards(library: Any) -> Iterator[Busy]:
    try:
        library.nvmlInit()
    except (library.NVMLError, OSError):
        return
    try:
        for index in range(min(int(library.nvmlDeviceGetCount()), GPUS_MAX)):
            yield _card(library, index)
    except library.NVMLError:
        return
    finally:
        with contextlib.suppress(library.NVMLError):
            library.nvmlShutdown()


def _card(library: Any, index: int) -> Busy:
    """A card that is lost has its number and nothing else."""

    def asked(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except library.NVMLError:
            return None

    handle = asked(lambda: library.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        return Busy(index, "lost")
    name = asked(lambda: library.nvmlDeviceGetName(handle)) or ""
    memory = asked(lambda: library.nvmlDeviceGetMemoryInfo(handle))
    rates = asked(lambda: library.nvmlDeviceGetUtilizationRates(handle))
    heat = asked(lambda: library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU))
    power = asked(lambda: library.nvmlDeviceGetPowerUsage(handle))
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return Busy(
        index,
        text.removeprefix("NVIDIA "),
        used_bytes=None if memory is None else int(memory.used),
        memory_bytes=None if memory is None else int(memory.total),
        load=None if rates is None else int(rates.gpu) / 100,
        celsius=None if heat is None else int(heat),
        watts=None if power is None else int(power) / 1000,
    )
