"""Which driver runs the cards, and which processes hold their memory: asked of NVML."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infctl.gpus.card import GPUS_MAX
from infctl.in_time import answer

KERNEL_MODULE = Path("/proc/driver/nvidia/version")
"""What the loaded kernel module says of itself, without a library."""
TIMEOUT_S = 20.0
"""A cold driver takes some seconds."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process with memory on a card."""

    pid: int
    bytes: int | None
    """None: the driver does not say (a process in a virtual machine or another namespace)."""


@dataclass(frozen=True, slots=True)
class Driver:
    version: str
    """Such as 580.65.06."""
    holders: Mapping[str, tuple[Holder, ...]] = field(default_factory=dict)
    """By the card's UUID."""

    @property
    def branch(self) -> int:
        """580 of 580.65.06; 0: not understood."""
        head = self.version.partition(".")[0]
        return int(head) if head.isdecimal() and len(head) < 6 else 0


def look(*, nvml: Any = None, module: Path = KERNEL_MODULE, timeout_s: float = TIMEOUT_S) -> Driver | None:
    """None: there is no NVIDIA driver. Raises TimeoutError for one that hangs.

    `nvml`: ask this instead of the module pynvml.
    """
    try:
        library = importlib.import_module("pynvml") if nvml is None else nvml
        return answer(lambda: _driver(library), timeout_s)
    except (ImportError, _NoNvmlError):
        version = of_module(_text(module))
        return Driver(version) if version else None


def of_module(text: str) -> str:
    """The version in /proc/driver/nvidia/version; empty: none."""
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]{1,30})", text)
    return found[1] if found else ""


class _NoNvmlError(Exception):
    """NVML cannot be asked here."""


def _driver(library: Any) -> Driver:
    try:
        library.nvmlInit()
    except (library.NVMLError, OSError) as error:
        raise _NoNvmlError(str(error)) from None
    try:
        version = library.nvmlSystemGetDriverVersion()
        text = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
        return Driver(text, dict(_holders(library)))
    except library.NVMLError as error:
        raise _NoNvmlError(str(error)) from None
    finally:
        with contextlib.suppress(library.NVMLError):
            library.nvmlShutdown()


def _holders(library: Any) -> Iterator[tuple[str, tuple[Holder, ...]]]:
    """Of each card that answers; one that is lost holds nothing that could be told."""
    for number in range(min(int(library.nvmlDeviceGetCount()), GPUS_MAX)):
        with contextlib.suppress(library.NVMLError):
            handle = library.nvmlDeviceGetHandleByIndex(number)
            uuid = library.nvmlDeviceGetUUID(handle)
            found: dict[int, Holder] = {}
            for ask in (
                library.nvmlDeviceGetComputeRunningProcesses,
                library.nvmlDeviceGetGraphicsRunningProcesses,
            ):
                with contextlib.suppress(library.NVMLError):
                    for process in ask(handle):
                        found[int(process.pid)] = Holder(int(process.pid), _bytes(process.usedGpuMemory))
            yield (
                uuid.decode(errors="replace") if isinstance(uuid, bytes) else str(uuid),
                tuple(found.values()),
            )


def _bytes(size: Any) -> int | None:
    """NVML writes all ones for what it does not know."""
    return int(size) if size is not None and 0 <= int(size) < 2**60 else None


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(4096)
    except OSError:
        return ""
