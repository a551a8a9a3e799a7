"""A plan of a full box is there at once: eight GPUs, thirty services."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.infctl import cpu_time

LIMIT_S = 1.0
PROFILE = {
    "name": "thirty",
    "runtime": "docker",
    "gpus": "8xH100",
    "gateway": {"keys": {"shared": "${GATEWAY_API_KEY}"}},
    "models": {
        "chat": {"source": "Qwen/Qwen2.5-7B-Instruct", "task": "chat", "replicas": 5},
        "big": {"source": "Qwen/Qwen2.5-14B-Instruct", "task": "chat", "replicas": 2},
        "text2sql": {"source": "Snowflake/Arctic-Text2SQL-R1-7B", "task": "text2sql"},
        "embed": {
            "source": "Snowflake/snowflake-arctic-embed-l-v2.0",
            "task": "embed",
            "replicas": 10,
        },
        "rerank": {"source": "BAAI/bge-reranker-v2-m3", "task": "rerank", "replicas": 10},
    },
}
"""28 engines, the gateway and nginx."""


def plan(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infctl", "plan", "--offline"],
        cwd=folder,
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("thirty · 28 engines on 8 x H100")


@pytest.mark.serial
def test_a_plan_of_eight_gpus_and_thirty_services_takes_less_than_a_second(tmp_path: Path) -> None:
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(PROFILE, sort_keys=False))
    plan(tmp_path)  # pip compiles what it installs
    best = cpu_time.best(lambda: plan(tmp_path), LIMIT_S)
    assert best < LIMIT_S, f"{best:.3f} s"
