"""The gateway as its image has it: compiled. The whole of its tests on it: `make proof-compiled`."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.docker import engine
from tests.proofs import compiled

ROOT = compiled.ROOT
QUICK = (
    "tests/gateway/test_recording.py",
    "tests/gateway/test_serve.py",
    "tests/gateway/test_metrics_and_log.py",
    "tests/gateway/policy/test_ledger.py",
)
"""What goes through the whole of a request, and through the places where compiled code was wrong once."""
HARMLESS = {"end", "find", "index", "len", "max", "min", "start"}


def modules() -> list[str]:
    sys.path.insert(0, str(ROOT / "gateway" / "image"))
    try:
        compiling = importlib.import_module("compile")
    finally:
        sys.path.pop(0)
    found: list[str] = compiling.modules(ROOT)
    return found


@pytest.mark.parametrize("path", modules())
def test_no_compiled_module_defines_a_struct_whose_options_would_be_dropped(path: str) -> None:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    own = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
    assert [each for each in own if isinstance(each, type) and issubclass(each, msgspec.Struct)] == []


@pytest.mark.parametrize("path", modules())
def test_no_bound_of_a_slice_acts_for_mypyc_may_take_it_twice(path: str) -> None:
    assert list(acting(ast.parse((ROOT / path).read_text("utf-8")))) == []


def test_the_rule_finds_what_was_written_twice_once() -> None:
    assert list(acting(ast.parse("view = view[os.write(fd, view) :]"))) == ["os.write(fd, view)"]
    assert list(acting(ast.parse("path[len(before) : match.end()]"))) == []


def acting(tree: ast.AST) -> Iterator[str]:
    """Calls in the bounds of slices, but for those that only look."""
    for slice_ in (each for each in ast.walk(tree) if isinstance(each, ast.Slice)):
        for call in (each for each in ast.walk(slice_) if isinstance(each, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
            if name not in HARMLESS:
                yield ast.unparse(call)


def test_a_run_inside_another_is_no_part_of_it() -> None:
    outer = {"PATH": "/bin", engine.RUN: "ab12", "PYTEST_XDIST_WORKER": "gw0"}
    assert compiled.of_its_own(outer, Path("/copy")) == {"PATH": "/bin", "PYTHONPATH": "/copy"}


@pytest.mark.timeout(900)
def test_what_is_compiled_passes_the_tests_of_its_sources(tmp_path: Path) -> None:
    if shutil.which("cc") is None or not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        pytest.skip("no C compiler, or no headers of this Python: apt install gcc python3-dev")
    compiled.copied(tmp_path, level=0)
    ask = "import gateway.serve, gateway.net.connection as c; print(gateway.serve.__file__, c.__file__)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    where = subprocess.run(
        [sys.executable, "-c", ask], check=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    ).stdout
    assert where.count(".so") == 2
    done = compiled.tested(tmp_path, [*QUICK, "-p", "no:cacheprovider"])
    assert done.returncode == 0, done.stdout[-3000:]


def test_what_cannot_be_compiled_is_said_and_leaves_no_library(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "gateway", tmp_path / "in" / "gateway", ignore=compiled.WITHOUT)
    copy = tmp_path / "in" / "gateway"
    (copy / "refusal.py").write_text("def broken(:\n")
    argv = [sys.executable, str(copy / "image" / "compile.py"), str(tmp_path / "out")]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: the gateway was not compiled" in done.stderr
    assert "refusal.py:1" in done.stderr
    assert not list((tmp_path / "out").rglob("*.so"))
