"""Is the NVIDIA driver new enough for the CUDA that the engines' image is built with?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from infctl.doctor.case import Case
from infctl.doctor.docker import Image
from infctl.doctor.finding import Finding, failure, ok, warning
from infctl.gpus.held import Driver
from infctl.gpus.held import look as look_at_driver

OLDEST = {11: 450, 12: 525, 13: 580}
"""CUDA's major version -> the oldest branch of the driver that runs it."""
CUDA_13_SINCE = (0, 32)
"""vLLM's image without a suffix, as far as it is known; of the versions before it varies."""
PLAIN = "vllm/vllm-openai"
OLDER_CUDA = "-cu129"
"""Suffix of vLLM's tags that are built with CUDA 12.9."""
_SUFFIX = re.compile(r"-cu(1[1-9])(\d)(?![0-9])")
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
FORWARD = "VLLM_ENABLE_CUDA_COMPATIBILITY"
"""vLLM then loads the CUDA driver of its image, which data-centre cards accept over an older one."""


def look(case: Case) -> Iterator[Finding]:
    engines = case.profile.engines
    docker = case.engine()
    image = docker.image(engines.image) if docker is not None else None
    cuda = cuda_of(engines.image, image) if case.profile.runtime == "docker" else None
    forward = engines.env.get(FORWARD, "0").strip().lower() in {"1", "true"}
    if case.elsewhere:
        yield warning(
            "the driver of the Docker host is not seen from here",
            why="Docker runs on another machine",
            fix="nvidia-smi there; the check nvidia-container asks it through a container",
        )
        return
    yield judge(look_at_driver(), cuda, engines.image, forward=forward)


def judge(driver: Driver | None, cuda: tuple[int, int] | None, image: str, *, forward: bool) -> Finding:
    """`cuda`: of the image; None: not known. `forward`: the image brings its own CUDA driver."""
    if driver is None:
        return failure(
            "there is no NVIDIA driver on this machine",
            why="engines compute on GPUs, and no driver answers (NVML, /proc/driver/nvidia)",
            fix="install the NVIDIA driver and restart; without a GPU write gpus: cpu and runtime: process",
            path="gpus",
        )
    if cuda is None:
        return ok(f"NVIDIA driver {driver.version}", "which CUDA the engines are built with is not known yet")
    built = f"{image} (CUDA {cuda[0]}.{cuda[1]})" if cuda[1] else f"{image} (CUDA {cuda[0]})"
    least = OLDEST.get(cuda[0])
    if least is None or driver.branch >= least:
        return ok(f"NVIDIA driver {driver.version} runs {built}")
    other = _with_older_cuda(image) if cuda[0] == 13 and driver.branch >= OLDEST[12] else ""
    fix = f"install driver {least} or newer" + (f", or write image: {other}" if other else "")
    if forward:
        return warning(
            f"NVIDIA driver {driver.version} is older than {built} wants",
            why=f"{FORWARD} is set: only data-centre cards run so",
            fix=fix,
            path="engines/env",
        )
    return failure(
        f"NVIDIA driver {driver.version} is too old for {built}",
        why=f"CUDA {cuda[0]} needs driver {least} or newer; vLLM would not find a GPU",
        fix=fix,
        path="engines/image",
    )


def cuda_of(name: str, image: Image | None) -> tuple[int, int] | None:
    """What the image says of itself; where it is not here, what its tag says; None: neither does."""
    said = re.match(r"(\d+)\.(\d+)", image.env.get("CUDA_VERSION", "")) if image is not None else None
    if said is not None:
        return int(said[1]), int(said[2])
    repository, _, tag = name.partition("@")[0].rpartition(":")
    suffix = _SUFFIX.search(tag)
    if suffix is not None:
        return int(suffix[1]), int(suffix[2])
    version = _VERSION.match(tag)
    if repository.removeprefix("docker.io/") != PLAIN or version is None:
        return None
    return (13, 0) if (int(version[1]), int(version[2])) >= CUDA_13_SINCE else None


def _with_older_cuda(image: str) -> str:
    """The same vLLM built with CUDA 12; empty: nobody knows such a tag."""
    plain = image.partition("@")[0]
    known = plain.rpartition(":")[0].removeprefix("docker.io/") == PLAIN
    return f"{plain}{OLDER_CUDA}" if known and not _SUFFIX.search(plain) else ""
