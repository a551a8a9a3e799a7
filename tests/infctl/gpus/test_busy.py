"""How busy cards are: a small class plays NVML."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from infctl.gpus.busy import Busy, look


class NVMLError(Exception):
    pass


class Nvml:
    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, **replaced: Any) -> None:
        for name, function in replaced.items():
            setattr(self, name, function)

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    nvmlShutdown = nvmlInit  # noqa: N815

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index == 1:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, _: int) -> bytes:  # noqa: N802
        return b"NVIDIA L4"

    def nvmlDeviceGetMemoryInfo(self, _: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=5, total=10)

    def nvmlDeviceGetUtilizationRates(self, _: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=87, memory=3)

    def nvmlDeviceGetTemperature(self, _: int, sensor: int) -> int:  # noqa: N802
        return 71 + sensor

    def nvmlDeviceGetPowerUsage(self, _: int) -> int:  # noqa: N802
        return 68_200


def fails(*_: Any) -> Any:
    raise NVMLError("Not Supported")


def test_each_card_tells_memory_load_heat_and_power_and_a_lost_one_its_number() -> None:
    assert look(nvml=Nvml(), timeout_s=5) == (Busy(0, "L4", 5, 10, 0.87, 71, 68.2), Busy(1, "lost"))


def test_what_a_card_does_not_say_is_left_open() -> None:
    found = look(nvml=Nvml(nvmlDeviceGetPowerUsage=fails, nvmlDeviceGetUtilizationRates=fails), timeout_s=5)
    assert found[0] == Busy(0, "L4", 5, 10, None, 71, None)


def test_without_a_driver_or_with_one_that_hangs_there_are_none() -> None:
    assert look(nvml=Nvml(nvmlInit=fails), timeout_s=5) == ()
    assert look(nvml=Nvml(nvmlDeviceGetCount=fails), timeout_s=5) == ()
    hung = threading.Event()
    assert look(nvml=Nvml(nvmlInit=lambda: hung.wait(60)), timeout_s=0.05) == ()
    hung.set()
