"""Asks NVML, the driver's own library, which cards there are.

`library` is the module `pynvml`, or anything with the same functions.
"""

from __future__ import annotations

import contextlib
from typing import Any

from infctl.errors import PlanError
from infctl.gpus.card import GPUS_MAX, NAME_THEM, Gpu

MEMORY_V2 = 0x02000028
"""Asks nvmlDeviceGetMemoryInfo for the form that counts what the driver keeps for itself."""


class NoNvml(Exception):  # noqa: N818 - it says that the answer has to come from elsewhere
    """NVML cannot be asked here."""


def cards(library: Any) -> tuple[Gpu, ...]:
    """In PCI order. `memory_bytes` is NVML's total without what the driver reserves.

    Raises NoNvml where it does not start, PlanError where a card does not answer or is cut into MIG devices.
    """
    try:
        library.nvmlInit()
    except (library.NVMLError, OSError) as error:
        raise NoNvml(str(error)) from None
    try:
        count = min(int(library.nvmlDeviceGetCount()), GPUS_MAX)
        found = sorted(_bus(library, number) for number in range(count))
        return tuple(_card(library, index, number) for index, (_bus_id, number) in enumerate(found))
    except library.NVMLError as error:
        raise NoNvml(str(error)) from None
    finally:
        with contextlib.suppress(library.NVMLError):
            library.nvmlShutdown()


def _bus(library: Any, number: int) -> tuple[str, int]:
    """What to sort by: the PCI bus, which is also CUDA's order under CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    try:
        return _text(library.nvmlDeviceGetPciInfo(library.nvmlDeviceGetHandleByIndex(number)).busId), number
    except library.NVMLError as error:
        raise _lost(number, error) from None


def _card(library: Any, index: int, number: int) -> Gpu:
    try:
        handle = library.nvmlDeviceGetHandleByIndex(number)
        name = _text(library.nvmlDeviceGetName(handle)).removeprefix("NVIDIA ")
        if _cut(library, handle):
            raise _mig(index, name)
        memory, reserved = _memory(library, handle)
        return Gpu(
            index=index,
            name=name,
            uuid=_text(library.nvmlDeviceGetUUID(handle)),
            memory_bytes=int(memory.total) - reserved,
            free_bytes=int(memory.free),
            capability=_capability(library, handle),
        )
    except library.NVMLError as error:
        raise _lost(index, error) from None


def _memory(library: Any, handle: Any) -> tuple[Any, int]:
    """The counts, and what of the total the driver keeps. Drivers before 510 do not say the latter."""
    try:
        memory = library.nvmlDeviceGetMemoryInfo(handle, MEMORY_V2)
        return memory, int(memory.reserved)
    except (library.NVMLError, TypeError):
        return library.nvmlDeviceGetMemoryInfo(handle), 0


def _cut(library: Any, handle: Any) -> bool:
    try:
        current, _pending = library.nvmlDeviceGetMigMode(handle)
    except library.NVMLError:
        return False  # a card that cannot be cut
    return bool(current)


def _capability(library: Any, handle: Any) -> tuple[int, int] | None:
    try:
        major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
    except library.NVMLError:
        return None
    return int(major), int(minor)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _lost(index: int, error: Exception) -> PlanError:
    return PlanError(
        f"GPU {index} does not answer: {error}",
        hint=f"nvidia-smi -q -i {index} says more; to plan without asking the machine, {NAME_THEM}",
    )


def _mig(index: int, name: str) -> PlanError:
    return PlanError(
        f"GPU {index} ({name}) is cut into MIG devices, and MIG is not planned",
        hint=f"make it whole with nvidia-smi -i {index} -mig 0 (as root, nothing may run on it), or list the"
        " other cards: gpus: [{index: 1, name: ...}]",
    )
