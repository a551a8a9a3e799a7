"""Can Docker hand GPUs to a container: the NVIDIA Container Toolkit, its runtime or its CDI files?"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infctl.doctor.case import Case
from infctl.doctor.docker import Docker
from infctl.doctor.finding import Finding, failure, ok, warning

HOOK = "nvidia-container-runtime-hook"
"""Docker registers its own `nvidia` driver for device requests where it finds this program at its start."""
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
CDI_BYTES_MAX = 4 * 2**20
CDI_ENGINE = (1, 44)
"""The API of Engine 25, the first that takes CDI devices."""
_KIND = re.compile(r"^\s*[\"']?kind[\"']?:\s*[\"']?nvidia\.com/gpu", re.MULTILINE)
_INSTALL = (
    "install nvidia-container-toolkit, then as root: nvidia-ctk runtime configure --runtime=docker &&"
    " systemctl restart docker"
)
_GENERATE = "as root: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is of it."""

    runtime: bool = False
    """Docker lists the runtime `nvidia`."""
    hook: bool = False
    """Its program lies on this machine's PATH."""
    cdi_files: tuple[str, ...] = ()
    """That describe NVIDIA cards."""
    cdi_known: bool = False
    """The Docker engine itself names such devices (since 28.2)."""
    api: tuple[int, ...] = CDI_ENGINE
    local: bool = True


def look(case: Case) -> Iterator[Finding]:
    docker = case.docker()
    yield judge(seen(docker), uses_cdi=_uses_cdi(case))


def judge(found: Seen, *, uses_cdi: bool) -> Finding:
    """`uses_cdi`: the containers ask for CDI devices, not for the driver `nvidia`."""
    cdi = found.cdi_known or bool(found.cdi_files)
    if uses_cdi:
        if found.api < CDI_ENGINE:
            return failure(
                f"this Docker engine (API {_dotted(found.api)}) takes no CDI devices",
                why="they came with Engine 25",
                fix="update Docker, or write engines.gpu_driver: nvidia",
                path="engines/gpu_driver",
            )
        if cdi:
            return ok(f"CDI describes the cards ({', '.join(found.cdi_files) or 'the engine lists them'})")
        return _unseen(found, "no CDI file describes an NVIDIA card", _GENERATE)
    if found.runtime or found.hook:
        by = "Docker has the runtime nvidia" if found.runtime else f"{HOOK} is installed"
        return ok(f"NVIDIA Container Toolkit: {by}")
    if cdi and found.api >= CDI_ENGINE:
        return warning(
            "Docker has no runtime nvidia, only CDI files",
            why="newer engines fall back to CDI, older ones refuse: could not select device driver",
            fix=_INSTALL,
        )
    return _unseen(found, "the NVIDIA Container Toolkit is missing", _INSTALL)


def _unseen(found: Seen, what: str, fix: str) -> Finding:
    if not found.local:
        return warning(
            f"{what}, as far as can be seen from here", why="Docker runs on another machine", fix=fix
        )
    return failure(what, why="no container gets a GPU without it", fix=fix)


def seen(docker: Docker) -> Seen:
    """The edge."""
    devices = docker.info.get("DiscoveredDevices") or ()
    folders = [str(one) for one in docker.info.get("CDISpecDirs") or CDI_FOLDERS]
    return Seen(
        runtime="nvidia" in docker.runtimes,
        hook=docker.is_local and shutil.which(HOOK) is not None,
        cdi_files=tuple(cdi_files(folders)) if docker.is_local else (),
        cdi_known=any("nvidia.com/gpu" in str(one) for one in devices),
        api=docker.api,
        local=docker.is_local,
    )


def cdi_files(folders: list[str]) -> Iterator[str]:
    """Files that describe NVIDIA cards."""
    for folder in folders:
        for file in sorted(Path(folder).glob("*")):
            if file.suffix not in {".yaml", ".yml", ".json"} or not file.is_file():
                continue
            with file.open(encoding="utf-8", errors="replace") as stream:
                if _KIND.search(stream.read(CDI_BYTES_MAX)):
                    yield str(file)


def _uses_cdi(case: Case) -> bool:
    return any(c.devices is not None and c.devices.driver == "cdi" for c in case.containers)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
