"""`make proof-compiled`: what holds for the gateway's sources holds for its compiled modules.

    python -m tests.proofs.compiled [ARGUMENTS OF pytest]      tests/gateway, unless others are named

The checkout is copied, the gateway in the copy compiled, and its tests run there. Left out are those that
put their own in place of a part of it (mark `sources`) and those that measure time. The time-boxed form is
tests/gateway/image/test_compile.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.docker import engine

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("bench", "docs", "infctl", "monitoring", "profiles", "templates", "tests", "pyproject.toml")
KEPT: Final = "not sources and not serial and not docker"
WHOLE: Final = ("tests/gateway", "--ignore", "tests/gateway/image", "-n", "2", "-p", "no:cacheprovider")
WITHOUT: Final = shutil.ignore_patterns("__pycache__", "*.so")


def copied(folder: Path, level: int = 2) -> None:
    """The checkout, its gateway compiled at that level of the C compiler. Raises RuntimeError: why not."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=WITHOUT)
        else:
            shutil.copy(ROOT / name, folder)
    argv = [sys.executable, str(ROOT / "gateway" / "image" / "compile.py"), str(folder), str(level)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)


def tested(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """By pytest, in the copy."""
    argv = [sys.executable, "-m", "pytest", "-q", "-m", KEPT, *arguments]
    return subprocess.run(
        argv, check=False, cwd=folder, env=of_its_own(os.environ, folder), capture_output=True, text=True
    )


def of_its_own(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """For a run inside another: as a part of it, it would clear away at its end what the other still has."""
    inherited = {each: value for each, value in environment.items() if not each.startswith("PYTEST_")}
    inherited.pop(engine.RUN, None)
    return inherited | {"PYTHONPATH": str(folder)}


def main(arguments: Sequence[str]) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="compiled-") as name:
        folder = Path(name)
        try:
            copied(folder)
        except RuntimeError as why:
            sys.stderr.write(str(why))
            return 1
        took_s = time.monotonic() - began
        modules = sum(1 for _ in (folder / "gateway").rglob("*.so"))
        done = tested(folder, arguments or WHOLE)
    sys.stdout.write(done.stdout + done.stderr)
    last = (done.stdout.splitlines() or ["no word of pytest"])[-1]
    sys.stdout.write(f"{modules} modules compiled in {took_s:.0f} s; on them: {last}\n")
    return int(done.returncode != 0 or modules == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
