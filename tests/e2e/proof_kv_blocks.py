"""`make proof-kv-blocks`: both models really started at three settings; what was planned is what is reported.

Six starts take five minutes, so no usual run collects this file: it has the first setting in test_planned_kv.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local import UP_WITHIN_S, has_local_stack, make, planned, reported

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, int]]] = {
    "1 GiB, 2,048 tokens, float32": ({}, {}, (182, 23_296)),
    "512 MiB, 1,024 tokens, blocks of 64": (
        {"kv_cache_memory": "512MiB", "max_model_len": 1024, "block_size": 64},
        {"max_model_len": 128},
        (182, 11_648),
    ),
    "2 GiB, 4,096 tokens, bfloat16": (
        {"kv_cache_memory": "2GiB", "max_model_len": 4096, "dtype": "bfloat16"},
        {"dtype": "bfloat16", "block_size": 64},
        (728, 93_184),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_planned_and_reported_blocks_are_equal(name: str, tmp_path: Path) -> None:
    if not has_local_stack():
        pytest.skip("the local stack is not installed: `make setup-local`")
    chat, embed, expected = SETTINGS[name]
    platform = make(tmp_path, models={"chat": chat, "embed": embed})
    (elsewhere := tmp_path / "elsewhere").mkdir()
    plan = planned(platform, elsewhere)
    try:
        done = platform.run("up", "-y", timeout_s=UP_WITHIN_S)
        assert done.returncode == 0, done.stdout + done.stderr
        actual = reported(platform)
        assert plan == actual
        assert actual["chat"] == expected
        assert actual["embed"] == (1, None)
        blocks, tokens = expected
        assert f"chat: KV tokens {tokens:,} (planned {tokens:,})" in done.stdout
        rows = {row["service"]: row for row in platform.json("plan", "--actual")["actual"]}
        assert rows["chat"]["actual_num_gpu_blocks"] == blocks
        assert rows["chat"]["difference_percent"] == 0
    finally:
        platform.run("down", timeout_s=120)
        for pid in platform.processes():
            os.kill(pid, signal.SIGKILL)
