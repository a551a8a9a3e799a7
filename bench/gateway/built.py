"""The gateway as its image runs it: compiled, with packages of its own, on the distribution's Python.

That Python is built with profile-guided optimisation, as the one in the image's base is; one that was built
from source without it takes a sixth more time. Both are made once and kept under
the cache folder of peers.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import peers

SYSTEM: Final = Path("/usr/bin/python3")
OLDEST: Final = (3, 11)
_ASK: Final = """
import os, sys, sysconfig
print("%d.%d.%d" % sys.version_info[:3], os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))
"""


class NotBuilt(Exception):  # noqa: N818 - what it is
    """Why not."""


@dataclass(frozen=True)
class Built:
    python: Path
    root: Path
    """To import the gateway from."""
    version: str
    """Of Python."""


def built(root: Path) -> Built:
    """Of a checkout. Makes what is not there yet: a minute or two. Raises NotBuilt."""
    image = root / "gateway" / "image"
    if not (image / "compile.py").is_file():
        raise NotBuilt(f"{root} is of a time before gateways were compiled")
    locks = [image / "requirements.txt", image / "compile.txt"]
    interpreter, version = _interpreter()
    python = _environment(interpreter, version, locks)
    folder = peers.cache() / f"gateway-{version}" / f"compiled-{_digest(_sources(root))}"
    if not folder.is_dir():
        made = folder.with_name(folder.name + ".part")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        _run([str(python), str(image / "compile.py"), str(made)])
        for old in folder.parent.glob("compiled-*"):
            if old != made:
                shutil.rmtree(old)
        made.rename(folder)
    return Built(python, folder, version)


def _interpreter() -> tuple[Path, str]:
    for each in (SYSTEM, Path(sys.executable)):
        try:
            done = subprocess.run([str(each), "-c", _ASK], check=True, capture_output=True, text=True)
            version, headers = done.stdout.split()
        except (OSError, subprocess.CalledProcessError):
            continue
        if tuple(int(part) for part in version.split(".")) >= OLDEST and headers == "True":
            return each, version
    raise NotBuilt("no Python with its headers (Debian, Ubuntu: apt install gcc python3-dev python3-venv)")


def _environment(interpreter: Path, version: str, locks: list[Path]) -> Path:
    folder = peers.cache() / f"gateway-{version}" / f"venv-{_digest(locks)}"
    python = folder / "bin" / "python"
    if not (folder / "whole").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _run([str(interpreter), "-m", "venv", str(folder)])
        files = [part for lock in locks for part in ("-r", str(lock))]
        how = ["--quiet", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
        _run([str(python), "-m", "pip", "install", *how, *files])
        (folder / "whole").touch()
    return python


def _sources(root: Path) -> list[Path]:
    return sorted((root / "gateway").rglob("*.py"))


def _digest(files: list[Path]) -> str:
    found = hashlib.sha256()
    for each in files:
        found.update(each.name.encode() + b"\0" + each.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def _run(argv: list[str]) -> None:
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=1800, env=_without_path(), cwd="/"
    )
    if done.returncode:
        raise NotBuilt(f"{Path(argv[0]).name} {' '.join(argv[1:4])}: {(done.stderr or done.stdout)[-600:]}")


def _without_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
