"""The real thing, once for all tests here: `infctl up` with real vLLM, the real gateway and a real nginx."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local import UP_WITHIN_S, Platform, has_local_stack, make

ORDER = (
    "test_main_job",
    "test_real_clients",
    "test_aborted_streams",
    "test_panels",
    "test_planned_kv",
    "test_killed_processes",
    "test_changes",
    "test_down",
    "test_rolling_vllm",
    "proof_kv_blocks",
)
"""One platform lives through all files up to test_down, which ends it; the last has vLLMs of its own.

A proof is run by itself.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents and item.path.stem in ORDER]
    for item in mine:
        item.add_marker(pytest.mark.stack)
        item.add_marker(pytest.mark.timeout(900))
    mine.sort(key=lambda item: ORDER.index(item.path.stem))
    items[:] = [item for item in items if item not in mine] + mine


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`infctl up` on a copy of the local profile, up for all tests of the session."""
    if not has_local_stack():
        pytest.skip("the local stack is not installed: `make setup-local`")
    made = make(tmp_path_factory.mktemp("platform"))
    began = time.monotonic()
    done = made.run("up", "-y", timeout_s=UP_WITHIN_S)
    made.up_s = time.monotonic() - began
    made.output = done.stdout + done.stderr
    try:
        assert done.returncode == 0, made.output
        yield made
    finally:
        made.run("down", timeout_s=120)
        for pid in made.processes():
            os.kill(pid, signal.SIGKILL)
