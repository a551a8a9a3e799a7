"""How several workers share the suite: what stays in one worker, and who begins with what.

A file's tests run in one worker, so what a module makes is made once. Some files follow each other in the
same worker: they need something that the machine has once. Most of their time goes by with waiting for
containers and engines, so that `scripts/test.py` starts more workers than there are cores.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

LANES: dict[str, tuple[str, ...]] = {
    "real vLLM on this machine": (
        "tests/conformance/test_vllm_cpu.py",
        "tests/e2e/test_main_job.py",
        "tests/e2e/test_real_clients.py",
        "tests/e2e/test_aborted_streams.py",
        "tests/e2e/test_panels.py",
        "tests/e2e/test_planned_kv.py",
        "tests/e2e/test_killed_processes.py",
        "tests/e2e/test_changes.py",
        "tests/e2e/test_down.py",
        "tests/e2e/test_rolling_vllm.py",
    ),
    "the fixed names of containers": (
        "tests/conformance/test_compose_up.py",
        "tests/e2e/test_reference_page.py",
    ),
}
EARLY = (
    "tests/e2e/test_docker_platform.py",
    "tests/infctl/engine/docker/test_rollout.py",
    "tests/e2e/test_rolling.py",
    "tests/e2e/test_several_gateways.py",
    "tests/infctl/engine/docker/test_crashes.py",
    "tests/infctl/engine/docker/test_platform.py",
    "tests/conformance/test_kv_cache_utils.py",
    "tests/proofs/test_soak.py",
    "tests/hazards/test_engine_kills.py",
    "tests/infctl/engine/docker/test_drift.py",
    "tests/infctl/engine/docker/test_rollout_inside.py",
    "tests/gateway/test_failing_backends.py",
    "tests/gateway/test_operations.py",
    "tests/packaging/test_two_part_suite.py",
    "tests/gateway/control/test_changes.py",
    "tests/gateway/image/test_compile.py",
)
"""Those that take longest: none of them is to be what all the others wait for in the end."""
ALONE = "serial"
"""The mark of what runs alone."""

_LANE_OF = {file: lane for lane, files in LANES.items() for file in files}


def unit(nodeid: str) -> str:
    """What a test is run in one piece with: its lane, or its file."""
    file = nodeid.partition("::")[0]
    return _LANE_OF.get(file, file)


def in_order(units: Iterable[str]) -> list[str]:
    """The lanes, then what takes long, then the others as they come."""
    first = [*LANES, *EARLY]
    return sorted(units, key=lambda one: first.index(one) if one in first else len(first))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            self.workqueue.move_to_end(in_order(self.workqueue)[0], last=False)
            super()._assign_work_unit(node)

    return Lanes(config, log) if config.getoption("dist") == "load" else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the few tests that run alone, the files are read alone: to read all takes as long as those run."""
    if config.getoption("markexpr", "") != ALONE or collection_path.suffix != ".py":
        return None
    return True if ALONE.encode() not in collection_path.read_bytes() else None
