"""Is there a Compose that understands the rendered files? infctl needs none; `docker compose ps` does."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, ok, warning
from infctl.engine.docker import compose

ASK_S = 15.0
OLD = ("docker-compose",)
"""Version 1, written in Python, which many machines still have."""
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    command: tuple[str, ...] = ()
    """Empty: there is none."""
    version: Version = ()
    refused: Mapping[str, str] | None = None
    """Rendered file -> what Compose says against it; None: it was not asked."""


def _services(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    services = document.get("services") or {}
    yield from (one for one in services.values() if isinstance(one, Mapping))


def _completed(document: Mapping[str, Any]) -> bool:
    needs = (need for one in _services(document) for need in (one.get("depends_on") or {}).values())
    return any(need.get("condition") == "service_completed_successfully" for need in needs)


def _cdi(document: Mapping[str, Any]) -> bool:
    return any("=" in str(device) for one in _services(document) for device in one.get("devices") or ())


FIELDS: tuple[tuple[str, Version, Callable[[Mapping[str, Any]], bool]], ...] = (
    ("depends_on: service_completed_successfully", (1, 29), _completed),
    ("name", (2, 3, 3), lambda document: "name" in document),
    ("gpus", (2, 30), lambda document: any("gpus" in one for one in _services(document))),
    ("devices by CDI", (2, 30), _cdi),
)
"""(what a rendered file uses, the first Compose that takes it, whether this file does)."""


def look(case: Case) -> Iterator[Finding]:
    texts = {f.path: f.text for f in case.rendered if f.path.startswith("docker-compose")}
    documents = {path: yaml.safe_load(text) for path, text in texts.items()}
    yield judge(seen(texts, str(case.folder), case.shell), used(documents.values()))


def judge(found: Seen, wanted: Sequence[tuple[str, Version]]) -> Finding:
    """`wanted`: fields and the versions they need."""
    if not found.command:
        return warning(
            "there is no Docker Compose here",
            why="infctl needs none; but docker compose ps and restart do, and without Compose's hash"
            " on them a later docker compose up -d makes every container anew",
            fix="install the package docker-compose-plugin",
        )
    name = " ".join(found.command)
    version = ".".join(str(part) for part in found.version)
    lacking = [(field, least) for field, least in wanted if found.version and found.version < least]
    if lacking:
        fields = ", ".join(f"{field} (since {'.'.join(map(str, least))})" for field, least in lacking)
        return failure(
            f"{name} {version} does not know what the rendered files use: {fields}",
            why="docker compose up -d would refuse them, or leave it out",
            fix="update docker-compose-plugin; version 1 (docker-compose) is no longer kept up",
        )
    refused = {path: said for path, said in (found.refused or {}).items() if said}
    if refused:
        path, said = next(iter(refused.items()))
        return failure(
            f"{name} {version} refuses {path}",
            why=said,
            fix=f"what it names is wrong or missing; try it: {name} -f {path} config -q",
        )
    checked = f", and takes {', '.join(found.refused)}" if found.refused else ""
    return ok(f"{name} {version or '(version not said)'}{checked}")


def used(documents: Iterator[Any] | Sequence[Any] | Any) -> list[tuple[str, Version]]:
    """Fields of these files that not every Compose knows."""
    known = [document for document in documents if isinstance(document, Mapping)]
    return [(name, least) for name, least, has in FIELDS if any(has(document) for document in known)]


def seen(texts: Mapping[str, str], folder: str, environment: Mapping[str, str]) -> Seen:
    """The edge: asks Compose its version, and what it thinks of the files as they would be written."""
    found = compose.find(environment)
    if found is None:
        told = _run([*OLD, "version", "--short"], "", environment)
        return Seen(OLD, _version(told[1])) if told is not None and told[0] == 0 else Seen()
    refused = {path: _refusal(found.argv, text, folder, environment) for path, text in texts.items()}
    return Seen((Path(found.argv[0]).name, *found.argv[1:]), _version(found.version), refused)


def _version(text: str) -> Version:
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part is not None) if found else ()


def _refusal(command: Sequence[str], text: str, folder: str, environment: Mapping[str, str]) -> str:
    """Its last words against a file; empty: it takes it."""
    told = _run([*command, "--project-directory", folder, "-f", "-", "config", "-q"], text, environment)
    if told is None or told[0] == 0:
        return ""
    lines = [line for line in told[2].splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit code {told[0]}"


def _run(argv: Sequence[str], text: str, environment: Mapping[str, str]) -> tuple[int, str, str] | None:
    try:
        done = subprocess.run(
            argv,
            input=text,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=ASK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode, done.stdout, done.stderr
