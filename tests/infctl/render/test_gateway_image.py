"""What the gateway's image is built from is all there, and is what runs here."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gateway
from infctl.render import gateway_image

PACKAGE = Path(gateway.__file__).parent
TEXTS = {file.path.removeprefix("gateway/image/"): file.text for file in gateway_image.files()}


def test_every_source_is_there_as_it_is() -> None:
    wanted = {
        f"gateway/{path.relative_to(PACKAGE).as_posix()}": path.read_text()
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != "image"
    }
    found = {
        name: text for name, text in TEXTS.items() if name.startswith("gateway/") and name.endswith(".py")
    }
    assert found == wanted
    assert len(found) > 30


def test_dockerfile_copies_nothing_that_is_missing() -> None:
    copied = [
        source
        for line in TEXTS["Dockerfile"].splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
        if "[" not in source  # there or not
    ]
    assert copied
    for source in copied:
        assert source in TEXTS or any(name.startswith(f"{source}/") for name in TEXTS), source


def test_requirements_hold_hashes_for_what_the_gateway_imports() -> None:
    assert "--hash=sha256:" in TEXTS["requirements.txt"]
    for name in ("msgspec", "httptools", "uvloop", "orjson", "pyyaml", "fastapi"):
        assert f"\n{name}==" in f"\n{TEXTS['requirements.txt'].lower()}", name


def test_sources_import_nothing_of_infctl() -> None:
    for name, text in TEXTS.items():
        if name.endswith(".py"):
            for node in ast.walk(ast.parse(text)):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not any(one.split(".")[0] == "infctl" for one in names), name


@pytest.mark.parametrize("module", ["gateway.__main__", "app.config", "app.prepare"])
def test_a_copy_of_them_runs(module: str, tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import {module}; print({module}.__file__)"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
