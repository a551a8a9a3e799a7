"""`make test` runs pytest twice and answers for both; in CI no skip goes unseen."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import side_by_side
from tests.e2e.conftest import ORDER

ROOT = Path(__file__).resolve().parents[2]
INI = "[pytest]\naddopts = -p no:schemathesis -p no:langsmith_plugin\n"
"""As in pyproject.toml: each pytest of the several that a test here starts would import them."""
SUITE = """
import pytest
def test_side_by_side(): pass
@pytest.mark.serial
def test_alone(): assert {alone}
"""


def suite(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_it.py").write_text(text)
    (tmp_path / "pytest.ini").write_text(f"{INI}markers =\n  serial: alone\n")
    # One worker has as much to tell as several, and each takes seconds to start.
    more = ("-p", "no:cacheprovider", "--maxprocesses=1")
    argv = [sys.executable, str(ROOT / "scripts" / "test.py"), *more]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "CI"))}
    return subprocess.run(
        argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_last_line_adds_both_parts_up(tmp_path: Path) -> None:
    done = suite(tmp_path, SUITE.format(alone=True))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 2 passed in " in done.stdout.splitlines()[-1]


def test_a_failure_in_the_second_part_is_the_exit_code(tmp_path: Path) -> None:
    done = suite(tmp_path, SUITE.format(alone=False))
    assert done.returncode == 1
    assert " 1 failed, 1 passed in " in done.stdout.splitlines()[-1]


def test_a_failure_in_the_first_part_does_not_stop_the_second(tmp_path: Path) -> None:
    done = suite(tmp_path, SUITE.format(alone=True).replace("(): pass", "(): assert False"))
    assert done.returncode == 1
    assert " 1 failed, 1 passed in " in done.stdout.splitlines()[-1]


def test_a_part_without_tests_is_no_failure(tmp_path: Path) -> None:
    done = suite(tmp_path, "def test_only(): pass\n")
    assert done.returncode == 0
    assert " 1 passed in " in done.stdout.splitlines()[-1]


def test_no_tests_at_all_is_a_failure(tmp_path: Path) -> None:
    assert suite(tmp_path, "").returncode == 5


SKIPS = """
import pytest
def test_here(): pass
def test_no_tool(): pytest.skip("no tool")
@pytest.mark.gpu
def test_no_gpu(): pytest.skip("no GPU")
@pytest.mark.xfail(reason="known", strict=True)
def test_known(): assert False
"""


@pytest.mark.parametrize(
    ("ci", "code", "said"), [("true", 1, "1 failed, 1 passed, 1 skipped, 1 xfailed"), ("", 0, "2 skipped")]
)
def test_in_ci_only_a_missing_gpu_excuses_a_skip(tmp_path: Path, ci: str, code: int, said: str) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "skips.py").read_text())
    (tmp_path / "test_skips.py").write_text(SKIPS)
    (tmp_path / "pytest.ini").write_text(f"{INI}markers =\n  gpu: gpu\n")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {"CI": ci}
    done = subprocess.run(
        argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stdout
    assert said in done.stdout
    assert ("missing GPU only: Skipped: no tool" in done.stdout) == bool(ci)


def test_a_module_that_skips_itself_fails_in_ci(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "skips.py").read_text())
    (tmp_path / "test_skips.py").write_text("import pytest\npytest.importorskip('absent_module')\n")
    (tmp_path / "pytest.ini").write_text(INI)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {"CI": "true"}
    done = subprocess.run(
        argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "which CI allows for a missing GPU only" in done.stdout


def test_the_files_that_lanes_name_are_there() -> None:
    for file in (*side_by_side.EARLY, *(file for files in side_by_side.LANES.values() for file in files)):
        assert (ROOT / file).is_file(), file


def test_who_takes_the_fixed_names_of_containers_is_in_their_lane() -> None:
    takes = re.compile(r"\bdocker_names\b|import NAMES\b")
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    found = {file for file in files if takes.search((ROOT / file).read_text())} - {own(__file__)}
    found -= {file for file in found if "pytest.mark.serial" in (ROOT / file).read_text()}
    assert found == set(side_by_side.LANES["the fixed names of containers"])


def test_the_tests_of_the_one_local_platform_are_in_one_lane_in_order() -> None:
    lane = side_by_side.LANES["real vLLM on this machine"]
    assert [file for file in lane if "/e2e/" in file] == [
        f"tests/e2e/{name}.py" for name in ORDER if name.startswith("test_")
    ]


def own(file: str) -> str:
    return Path(file).resolve().relative_to(ROOT).as_posix()


def test_lanes_come_first_then_what_takes_long() -> None:
    lane = next(iter(side_by_side.LANES))
    assert side_by_side.unit("tests/e2e/test_down.py::test_it[a::b]") == lane
    assert side_by_side.unit("tests/test_docs.py::test_it") == "tests/test_docs.py"
    units = ["tests/test_docs.py", "tests/test_a.py", side_by_side.EARLY[0], lane]
    assert side_by_side.in_order(units) == [
        lane,
        side_by_side.EARLY[0],
        "tests/test_docs.py",
        "tests/test_a.py",
    ]


def test_counts_are_read_from_a_coloured_line() -> None:
    spec = importlib.util.spec_from_file_location("two_parts", ROOT / "scripts" / "test.py")
    assert spec is not None
    assert spec.loader is not None
    two_parts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(two_parts)
    line = (
        "\x1b[31m= \x1b[1m1 failed\x1b[0m, 20 passed, 3 deselected, 1 error, 1 warning in 61.2s (0:01:01) ="
    )
    assert two_parts.counts(line) == {"failed": 1, "passed": 20, "errors": 1, "warnings": 1}
