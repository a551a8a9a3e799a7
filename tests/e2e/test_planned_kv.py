"""What was planned for the KV cache is what real vLLM reports, to the block."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.local import Platform, planned, reported


def test_each_engine_has_the_blocks_and_tokens_that_were_planned(platform: Platform, tmp_path: Path) -> None:
    plan, actual = planned(platform, tmp_path), reported(platform)
    assert plan == actual
    assert actual["chat"] == (182, 23_296), "1 GiB for SmolLM2 in float32"
    assert actual["embed"] == (1, None), "an encoder keeps no cache; vLLM writes down one block"


def test_up_told_both_and_kept_them_for_the_next_plan(platform: Platform) -> None:
    assert "chat: KV tokens 23,296 (planned 23,296)" in platform.output
    assert "embed: no KV cache" in platform.output
    known = (platform.folder / ".infctl" / "calibration.json").read_text()
    assert platform.env["BACKEND_API_KEY"] not in known
    rows = {row["service"]: row for row in platform.json("plan", "--actual")["actual"]}
    assert rows["chat"]["actual_num_gpu_blocks"] == rows["chat"]["planned_num_gpu_blocks"] == 182
    assert rows["chat"]["difference_percent"] == 0
    assert rows["chat"]["starts"] >= 1
