"""Installs what is measured beside the gateway, each into an environment of its own under a cache folder.

    python bench/gateway/peers.py [NAME...]      vllm-router, smg, litellm; py-spy when it is named

What cannot be installed is said and left out; the benchmark then says so in its row.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """One program from the package index, at one version."""

    name: str
    version: str
    command: str
    extra: str = ""
    relaxed: tuple[str, ...] = ()
    """Requirements whose pins may be dropped where the index does not have them."""
    beside: str = ""
    """What it is installed with where the index has that: a smaller build of something it needs."""
    target: str = "bench-gateway-peers"
    """Of make: what installs it."""

    @property
    def folder(self) -> Path:
        return cache() / f"{self.name}-{self.version}"

    @property
    def program(self) -> Path:
        return self.folder / "bin" / self.command

    @property
    def note(self) -> Path:
        """Written last: what was installed, or why it was not."""
        return self.folder.with_suffix(self.folder.suffix + ".json")

    @property
    def requirement(self) -> str:
        return f"{self.name}{f'[{self.extra}]' if self.extra else ''}=={self.version}"


PACKAGES = (
    Package("vllm-router", "0.1.17", "vllm-router"),
    Package("smg", "1.13.0", "smg"),
    Package("litellm", "1.109.1", "litellm", extra="proxy", relaxed=("litellm-proxy-extras", "certifi")),
    Package("py-spy", "0.4.2", "py-spy"),
)
BY_NAME = {package.name: package for package in PACKAGES}

_REQUIREMENTS = """
import importlib.metadata, json, sys
from pip._vendor.packaging.requirements import Requirement
name, extra, *relaxed = sys.argv[1:]
found = []
for text in importlib.metadata.requires(name):
    each = Requirement(text)
    if each.marker is None or each.marker.evaluate({"extra": extra}):
        each.marker = None
        if each.name in relaxed:
            each.specifier = ""
        found.append(str(each))
print(json.dumps(found))
"""
_VERSIONS = """
import importlib.metadata, json, sys
from pip._vendor.packaging.requirements import Requirement
name, extra, *relaxed = sys.argv[1:]
found = {}
for text in importlib.metadata.requires(name):
    each = Requirement(text)
    if each.name in relaxed and (each.marker is None or each.marker.evaluate({"extra": extra})):
        version = importlib.metadata.version(each.name)
        if not each.specifier.contains(version):
            found[each.name] = version, str(each.specifier)
print(json.dumps(found))
"""


def cache() -> Path:
    """`$XDG_CACHE_HOME/infctl/bench`, or the same under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "infctl" / "bench"


def state(package: Package) -> dict[str, object]:
    """`{"installed": True, "deviations": [...]}`, or `{"installed": False, "why": ...}`."""
    try:
        found: dict[str, object] = json.loads(package.note.read_text())
    except (OSError, ValueError):
        return {"installed": False, "why": f"not installed: make {package.target}"}
    if found["installed"] and not package.program.exists():
        return {"installed": False, "why": f"{package.program.name} is gone: make {package.target}"}
    return found


class _Refused(Exception):  # noqa: N818 - what pip did
    """pip's own words."""


def _run(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no word of why"]
        raise _Refused(errors[-1].removeprefix("ERROR: ")[:300])
    return done.stdout


def install(package: Package) -> dict[str, object]:
    """A fresh environment: with the package's pins or, where the index lacks them, without, and said so."""
    shutil.rmtree(package.folder, ignore_errors=True)
    package.note.unlink(missing_ok=True)
    venv.create(package.folder, with_pip=True)
    python = str(package.folder / "bin" / "python")
    pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:")
    deviations: list[str] = []
    try:
        try:
            _install_pinned(package, pip)
        except _Refused:
            if not package.relaxed:
                raise
            deviations = _install_relaxed(package, python, pip)
        _run(str(package.program), "--help")
    except (_Refused, subprocess.TimeoutExpired) as error:
        found: dict[str, object] = {"installed": False, "why": f"not installable here: {error}"}
    else:
        found = {"installed": True, "version": package.version, "deviations": deviations}
    package.note.write_text(json.dumps(found) + "\n")
    return found


def _install_pinned(package: Package, pip: tuple[str, ...]) -> None:
    if package.beside:
        with contextlib.suppress(_Refused):
            _run(*pip, package.requirement, package.beside)
            return
    _run(*pip, package.requirement)


def _install_relaxed(package: Package, python: str, pip: tuple[str, ...]) -> list[str]:
    """What it has now of that for which it asks for something else."""
    _run(*pip, "--no-deps", f"{package.name}=={package.version}")
    wanted = json.loads(_run(python, "-c", _REQUIREMENTS, package.name, package.extra, *package.relaxed))
    _run(*pip, *wanted)
    found = json.loads(_run(python, "-c", _VERSIONS, package.name, package.extra, *package.relaxed))
    return [f"{name} {version} ({wish} is asked for)" for name, (version, wish) in found.items()]


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; there are {', '.join(BY_NAME)}\n")
        return 64
    return ready([BY_NAME[name] for name in names or [name for name in BY_NAME if name != "py-spy"]])


def ready(packages: Sequence[Package]) -> int:
    """Installs what is not there yet, and says so. 1 where one of them could not be."""
    cache().mkdir(parents=True, exist_ok=True)
    failed = 0
    for package in packages:
        name = package.name
        found = state(package)
        if not found["installed"]:
            print(f"{name} {package.version} ...", flush=True)
            found = install(package)
        said = "; ".join(map(str, found.get("deviations") or ())) or "ready"  # type: ignore[arg-type]
        print(f"{name} {package.version}: {said if found['installed'] else found['why']}")
        failed += not found["installed"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
