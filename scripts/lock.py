"""Writes requirements/{base,dev,local}.txt and the gateway image's two: one resolution, cut into five files.

    1. uv resolves all roots together, for Python 3.11 and later, with the hashes of every file.
    2. uv resolves the roots of each file alone, held to those versions: that says which names it needs.
    3. Each file gets its names' entries; dev and local leave out what base has, and the image's
       (gateway/image/requirements.txt) repeats what the gateway's process needs of it, compile.txt beside it
       what compiles the gateway.

Entries that no machine can want (`sys_platform == "never"`), and in local.txt and the image's those for
other machines than Linux x86-64, are dropped. Run by `make lock`; needs uv and packaging.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
IMAGE = ROOT / "gateway" / "image" / "requirements.txt"
COMPILE = IMAGE.with_name("compile.txt")
COMPILERS = ["mypy", "setuptools"]
PYTHONS = ("3.11", "3.12", "3.13")

Lock = dict[str, list[str]]
"""Name -> its entries, each a requirement line with its hash lines."""


def main() -> None:
    uv = os.environ.get("UV", "uv")
    base = [
        str(ROOT / "pyproject.toml"),
        "--extra",
        "gateway",
        "--extra",
        "tracing",
        str(REQUIREMENTS / "build.in"),
    ]
    dev = [*base, "--extra", "dev"]
    local = [str(REQUIREMENTS / "local.in"), "--override", str(REQUIREMENTS / "without.in")]
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "all.txt"
        whole = resolve(uv, [*dev, *local], ["--generate-hashes"])
        held.write_text(strip_hashes(whole), encoding="utf-8")
        everything = entries(whole)
        hold = ["--constraint", str(held)]
        names_base = set(entries(resolve(uv, base, hold)))
        names_dev = set(entries(resolve(uv, dev, hold))) - names_base
        names_local = set(entries(resolve(uv, local, hold))) - names_base
        image = Path(folder) / "image.in"
        image.write_text("\n".join(image_roots()), encoding="utf-8")
        names_image = set(entries(resolve(uv, [str(image)], hold)))
        image.write_text("\n".join(COMPILERS), encoding="utf-8")
        names_compile = set(entries(resolve(uv, [str(image)], hold)))
    write(
        REQUIREMENTS / "base.txt",
        "the CLI, the gateway, nginx and the build backend",
        pick(everything, names_base),
    )
    write(REQUIREMENTS / "dev.txt", "tests and checks, beyond base.txt", pick(everything, names_dev))
    what = "vLLM for the CPU and two models, beyond base.txt"
    write(REQUIREMENTS / "local.txt", what, pick(everything, names_local, linux=True))
    write(IMAGE, "what the gateway's process needs, of base.txt", pick(everything, names_image, linux=True))
    write(COMPILE, "what compiles the gateway, of dev.txt", pick(everything, names_compile, linux=True))


def image_roots() -> list[str]:
    """The extras `gateway` (without the edge) and `tracing`, and what of the CLI's needs the gateway has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    extra = [want for want in extras["gateway"] if not want.startswith("nginx")] + extras["tracing"]
    shared = [want for want in project["dependencies"] if want.startswith(("msgspec", "pyyaml"))]
    return [*extra, *shared]


def resolve(uv: str, roots: list[str], options: list[str]) -> str:
    how = ["--universal", "--python-version", PYTHONS[0], "--no-header", "--no-annotate", "--quiet"]
    argv = [uv, "pip", "compile", *how, *options, *roots]
    try:
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    except FileNotFoundError:
        sys.exit(f"error: {uv} is not there. pip install uv, or UV=/path/to/uv make lock")
    except subprocess.CalledProcessError as e:
        sys.exit(e.returncode)


def entries(lock: str) -> Lock:
    found: Lock = {}
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        if not entry.startswith("#"):
            name = canonicalize_name(re.split(r"[=@\s;\[]", entry, maxsplit=1)[0])
            found.setdefault(name, []).append(entry)
    return found


def strip_hashes(lock: str) -> str:
    return re.sub(r" \\\n\s+--hash=\S+", "", lock)


def pick(lock: Lock, names: Iterable[str], *, linux: bool = False) -> list[str]:
    return [e for name in sorted(names) for e in lock.get(name, []) if wanted(e, linux=linux)]


def wanted(entry: str, *, linux: bool) -> bool:
    head = strip_hashes(entry)
    if ";" not in head:
        return True
    marker = Marker(head.split(";", 1)[1].strip())
    return any(marker.evaluate(machine) for machine in machines(linux=linux))


def machines(*, linux: bool) -> Iterable[Mapping[str, str]]:
    places = [("linux", "Linux", "x86_64", "posix")]
    if not linux:
        places += [("linux", "Linux", "aarch64", "posix"), ("darwin", "Darwin", "arm64", "posix")]
        places += [("win32", "Windows", "AMD64", "nt")]
    for sys_platform, system, machine, os_name in places:
        for version in PYTHONS:
            yield {
                "sys_platform": sys_platform,
                "platform_system": system,
                "platform_machine": machine,
                "os_name": os_name,
                "python_version": version,
                "python_full_version": f"{version}.1",
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
            }


def write(path: Path, what: str, lines: list[str]) -> None:
    path.write_text(f"# {what}. Made by `make lock`.\n" + "\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path.relative_to(ROOT)}: {len(lines)} packages\n")


if __name__ == "__main__":
    main()
