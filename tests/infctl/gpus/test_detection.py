"""Asking the driver: NVML first, nvidia-smi where there is no NVML. A small class plays the library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infctl.errors import PlanError
from infctl.gpus import Gpu, detect
from infctl.gpus.detection import as_measured
from infctl.gpus.nvml import MEMORY_V2

MIB = 2**20


class NVMLError(Exception):
    pass


class Nvml:
    """A driver with these cards: (bus, name, MiB in all, MiB reserved, MiB free)."""

    NVMLError = NVMLError

    def __init__(self, *cards: tuple[str, str, int, int, int], **replaced: Callable[..., Any]) -> None:
        self.cards = cards
        self.open = 0
        for name, function in replaced.items():
            setattr(self, name, function)

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(busId=self.cards[handle][0].encode())

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return self.cards[handle][1]

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int, version: int | None = None) -> Any:  # noqa: N802
        _, _, total, reserved, free = self.cards[handle]
        if version is None:
            return SimpleNamespace(total=total * MIB, free=free * MIB)
        assert version == MEMORY_V2
        return SimpleNamespace(total=total * MIB, free=free * MIB, reserved=reserved * MIB)

    def nvmlDeviceGetMigMode(self, handle: int) -> tuple[int, int]:  # noqa: N802
        raise NVMLError("Not Supported")

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:  # noqa: N802
        return 8, 9


def fails(*_: Any) -> Any:
    raise NVMLError("GPU is lost")


def no_driver(*_: Any) -> Any:
    raise NVMLError("NVML Shared Library Not Found")


@pytest.fixture
def no_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_known_card_gets_its_measured_memory_and_an_unknown_one_what_the_driver_leaves() -> None:
    driver = Nvml(
        ("00000000:81:00.0", "NVIDIA Odd 9", 24_000, 500, 20_000),
        ("00000000:01:00.0", "NVIDIA L4", 23_034, 430, 22_500),
    )
    assert detect(nvml=driver) == (
        Gpu(0, "L4", "GPU-1", int(22.05 * 2**30), free_bytes=22_500 * MIB, capability=(8, 9)),
        Gpu(1, "Odd 9", "GPU-0", 23_500 * MIB, free_bytes=20_000 * MIB, capability=(8, 9)),
    )
    assert driver.open == 0


def test_a_card_with_other_memory_than_the_catalogue_has_seen_keeps_the_drivers() -> None:
    """An RTX 6000 Ada was seen with ECC on; this one has it off, and 3 GiB more."""
    (card,) = detect(nvml=Nvml(("0", "NVIDIA RTX 6000 Ada Generation", 49_140, 500, 48_000)))
    assert card.memory_bytes == 48_640 * MIB


def test_a_smaller_card_of_a_known_name_is_not_promoted() -> None:
    assert as_measured(Gpu(0, "L4", memory_bytes=12 * 2**30)).memory_bytes == 12 * 2**30
    assert as_measured(Gpu(0, "L4", memory_bytes=0)).memory_bytes == int(22.05 * 2**30)


def test_a_driver_that_does_not_count_what_it_keeps_is_asked_the_old_way() -> None:
    def old(handle: int, version: int | None = None) -> Any:
        if version is not None:
            raise NVMLError("Function Not Found")
        return SimpleNamespace(total=24_000 * MIB, free=0)

    (card,) = detect(nvml=Nvml(("0", "Odd", 0, 0, 0), nvmlDeviceGetMemoryInfo=old))
    assert (card.memory_bytes, card.free_bytes) == (24_000 * MIB, 0)


def test_a_card_without_a_capability_is_a_card() -> None:
    (card,) = detect(nvml=Nvml(("0", "Odd", 9, 0, 9), nvmlDeviceGetCudaComputeCapability=fails))
    assert card.capability is None


def test_a_card_that_is_lost_is_named() -> None:
    driver = Nvml(("0", "NVIDIA L4", 23_034, 430, 22_500), nvmlDeviceGetUUID=fails)
    with pytest.raises(PlanError, match="GPU 0 does not answer: GPU is lost") as caught:
        detect(nvml=driver)
    assert "nvidia-smi -q -i 0" in caught.value.hint
    assert driver.open == 0


def test_mig_is_said_not_to_be_planned() -> None:
    driver = Nvml(("0", "NVIDIA H100 80GB HBM3", 81_559, 551, 81_000), nvmlDeviceGetMigMode=lambda _: (1, 1))
    with pytest.raises(PlanError, match="cut into MIG devices, and MIG is not planned") as caught:
        detect(nvml=driver)
    assert "-mig 0" in caught.value.hint


@pytest.mark.usefixtures("no_smi")
def test_without_a_driver_nvidia_smi_is_asked_and_then_the_user() -> None:
    with pytest.raises(PlanError, match="nvidia-smi is missing") as caught:
        detect(nvml=Nvml(nvmlInit=no_driver))
    assert "gpus: 1xL4" in caught.value.hint


def test_nvidia_smi_answers_where_nvml_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-a, NVIDIA L4, 23034'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (card,) = detect(nvml=Nvml(nvmlInit=no_driver))
    assert (card.name, card.memory_bytes) == ("L4", int(22.05 * 2**30))


@pytest.fixture
def hung() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_driver_that_hangs_is_given_up_in_time(hung: threading.Event) -> None:
    with pytest.raises(PlanError, match=r"did not answer within 0\.05 s"):
        detect(nvml=Nvml(nvmlInit=hung.wait), timeout_s=0.05)


def test_the_real_library_has_every_function_that_is_asked() -> None:
    import pynvml

    asked = {name for name in dir(Nvml) if name.startswith("nvml")}
    assert [name for name in sorted(asked) if not callable(getattr(pynvml, name, None))] == []
    assert pynvml.nvmlMemory_v2 == MEMORY_V2
    assert issubclass(pynvml.NVMLError, Exception)
