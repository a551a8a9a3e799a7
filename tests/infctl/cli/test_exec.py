"""`infctl exec` of a process: the command takes infctl's place, with the service's environment and folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infctl.engine.process import ProcessEngine
from infctl.stack import Layout, Service, Stack

from .conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    profile = {
        "name": "tiny",
        "runtime": "process",
        "gpus": "cpu",
        "models": {"chat": {"source": {"path": "chat"}, "task": "chat"}},
        "edge": {"enabled": False},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile))
    waits = (sys.executable, "-c", "import time; time.sleep(600)")
    engine = ProcessEngine(Layout(tmp_path, tmp_path / ".infctl" / "tiny"))
    with engine.lock("test"):
        list(
            engine.apply(Stack("tiny", "process", (Service("chat", "engine", waits, (("MARK", "7"),)),)), {})
        )
    yield tmp_path
    list(engine.down())


def run_in(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infctl", "exec", *args],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def test_output_and_exit_code_are_the_commands_own(folder: Path) -> None:
    done = run_in(folder, "chat", "--", "sh", "-c", "echo $MARK; echo no >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "7\n", "no\n")


def test_options_after_the_service_are_the_commands(folder: Path) -> None:
    done = run_in(folder, "vllm-chat", "printf", "%s", "--json")
    assert (done.returncode, done.stdout) == (0, "--json")


def test_it_is_not_taken_for_a_process_of_the_service(folder: Path) -> None:
    done = run_in(folder, "chat", "env")
    assert "MARK=7" in done.stdout
    assert "INFCTL_STACK" not in done.stdout
    assert "INFCTL_SERVICE" not in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["chat", "no-such-program"], 5, "no-such-program cannot be run there: no such file"),
        (["chat", "--"], 64, "what is to be run in chat?"),
        (["nobody", "env"], 64, "there is no service 'nobody'"),
        (["chat"], 64, "missing argument"),
    ],
)
def test_what_cannot_be_run_is_told(folder: Path, args: list[str], code: int, said: str) -> None:
    done = run_in(folder, *args)
    assert done.returncode == code
    assert said in done.stderr.lower()


def test_a_service_that_is_down_is_told(run: Run, folder: Path) -> None:
    assert run("down").returncode == 0
    done = run_in(folder, "chat", "env")
    assert done.returncode in (5, 64)
    assert "chat" in done.stderr
    assert "infctl up starts" in done.stderr
