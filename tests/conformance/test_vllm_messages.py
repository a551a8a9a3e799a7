"""The logs that `infctl doctor logs` is shown by hold what the installed vLLM says, word by word."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

LOGS = Path(__file__).parents[1] / "golden" / "vllm_logs"
PYTHON = os.environ.get("INFCTL_VLLM_PYTHON", sys.executable)
ASK = Path(__file__).with_name("vllm_messages.py")
NAMES = sorted(file.stem for file in LOGS.glob("gpu_*.log"))


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("the local stack is not installed: `make setup-local`")
    env = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    done = subprocess.run([PYTHON, ASK], env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_the_installed_vllm_says_what_the_log_holds(name: str, messages: dict[str, str]) -> None:
    assert messages[name] in (LOGS / f"{name}.log").read_text(encoding="utf-8")


def test_nothing_is_asked_that_no_log_holds(messages: dict[str, str]) -> None:
    assert sorted(messages) == NAMES
