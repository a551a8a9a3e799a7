"""The driver and who holds memory: a small class plays NVML."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infctl.gpus.held import Driver, Holder, look, of_module

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    "GCC version:  gcc version 12.3.0\n"
)
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"


class NVMLError(Exception):
    pass


class Nvml:
    NVMLError = NVMLError

    def __init__(self, **replaced: Any) -> None:
        for name, function in replaced.items():
            setattr(self, name, function)

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    nvmlShutdown = nvmlInit  # noqa: N815

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"580.65.06"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        found = [SimpleNamespace(pid=7, usedGpuMemory=100), SimpleNamespace(pid=8, usedGpuMemory=2**64 - 1)]
        return found if handle == 0 else []

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=9, usedGpuMemory=None)] if handle == 0 else []


def fails(*_: Any) -> Any:
    raise NVMLError("Not Supported")


@pytest.mark.parametrize(
    ("text", "version"), [(OPEN, "580.65.06"), (CLOSED, "535.104.05"), ("", ""), ("x", "")]
)
def test_the_kernel_module_says_its_version(text, version):
    assert of_module(text) == version


def test_the_driver_says_its_version_and_who_holds_memory():
    found = look(nvml=Nvml())
    assert found == Driver(
        "580.65.06", {"GPU-0": (Holder(7, 100), Holder(8, None), Holder(9, None)), "GPU-1": ()}
    )
    assert found.branch == 580


def test_a_card_that_is_lost_or_does_not_tell_holds_nothing():
    found = look(nvml=Nvml(nvmlDeviceGetComputeRunningProcesses=fails))
    assert found is not None
    assert found.holders["GPU-0"] == (Holder(9, None),)
    found = look(nvml=Nvml(nvmlDeviceGetHandleByIndex=fails))
    assert found == Driver("580.65.06", {})


def test_without_nvml_the_kernel_module_is_asked(tmp_path: Path):
    file = tmp_path / "version"
    file.write_text(OPEN)
    assert look(nvml=Nvml(nvmlInit=fails), module=file) == Driver("580.65.06")
    assert look(nvml=Nvml(nvmlInit=fails), module=tmp_path / "none") is None


def test_a_driver_that_hangs_is_not_waited_for():
    hung = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            look(nvml=Nvml(nvmlInit=lambda: hung.wait(30)), timeout_s=0.05)
    finally:
        hung.set()


@pytest.mark.parametrize(("version", "branch"), [("570", 570), ("nonsense", 0), ("", 0)])
def test_a_version_that_is_not_understood_has_no_branch(version, branch):
    assert Driver(version).branch == branch
