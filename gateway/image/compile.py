"""Compiles the gateway's modules to machine code with mypyc, from the very sources that run without it.

    python gateway/image/compile.py FOLDER [LEVEL]    FOLDER/gateway: sources, compiled modules beside them

LEVEL is the C compiler's, 0 to 3: 2 unless told; 0 takes half the time, for tests.

Run while the container's image is built. Needs what compile.txt lists, a C compiler and Python's headers.

Compiled code checks the types it is given, so a wrong annotation is an error at run time: the gateway's
tests run on it too, by `make proof-compiled`.
Left as they are: what no request comes through, and modules with a msgspec.Struct, whose options mypyc drops.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDERS: Final = ("net", "policy", "redact", "wire")
"""All modules of these."""
MODULES: Final = (
    "admission",
    "attempts",
    "audit/seal",
    "audit/writer",
    "caching",
    "catalog",
    "client",
    "compression",
    "counting",
    "hedging",
    "identify",
    "limiter",
    "live",
    "log",
    "logline",
    "memory",
    "metrics",
    "note",
    "openai",
    "recording",
    "refusal",
    "relay",
    "routes",
    "salt",
    "serve",
    "settings",
    "sse",
    "stories",
    "strictjson",
    "taking",
    "tenants",
    "trace",
    "tracing/serve",
    "usage",
)
_STRUCT: Final = re.compile(r"^class \w+\(msgspec\.Struct\b", re.MULTILINE)
_SETUP: Final = """
import os, sys
from setuptools import setup
from mypyc.build import mypycify
# Types of libraries without any: `make check` looks at them, where their stubs are installed.
modules = ["--config-file=", "--disable-error-code=import-untyped", *sys.argv[2:]]
options = {"opt_level": sys.argv[1], "debug_level": "0", "multi_file": True, "group_name": "gateway"}
sys.argv[1:] = ["--quiet", "build_ext", "--inplace", "--parallel", str(os.cpu_count() or 1)]
setup(name="gateway", packages=[], ext_modules=mypycify(modules, **options))
"""
"""One library for all, so that their calls of each other are calls of C, and a small module for each."""


def main(arguments: list[str]) -> int:
    if len(arguments) not in {1, 2}:
        sys.stderr.write(f"usage: python {sys.argv[0]} FOLDER [LEVEL]\n")
        return 64
    here, out = Path(__file__).resolve().parent, Path(arguments[0]).resolve()
    # In the image's build they are beside this file, in a checkout above it.
    sources = here / "gateway" if (here / "gateway").is_dir() else here.parent
    shutil.rmtree(out / "gateway", ignore_errors=True)
    shutil.copytree(sources, out / "gateway", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    level = (*arguments, "2")[1]
    argv = [sys.executable, "-c", _SETUP, level, *modules(out)]
    environment = os.environ | {"MYPY_CACHE_DIR": str(out / "build" / "mypy")}
    done = subprocess.run(argv, check=False, cwd=out, env=environment, capture_output=True, text=True)
    shutil.rmtree(out / "build", ignore_errors=True)
    if done.returncode:
        for half in (*out.glob("*.so"), *(out / "gateway").rglob("*.so")):
            half.unlink()
        sys.stderr.write(f"error: the gateway was not compiled\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return int(done.returncode != 0)


def modules(root: Path) -> list[str]:
    """Paths from `root`, of what is compiled."""
    package = root / "gateway"
    found = [package / f"{name}.py" for name in MODULES]
    for folder in FOLDERS:
        found += sorted(each for each in (package / folder).glob("*.py") if each.name != "__init__.py")
    return [
        each.relative_to(root).as_posix() for each in found if not _STRUCT.search(each.read_text("utf-8"))
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
