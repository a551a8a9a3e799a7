"""Every panel of every dashboard has data of the real engines: the short form of `make proof-panels`."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.local import Platform
from tests.proofs import real_panels


def test_every_panel_has_data_of_real_engines(platform: Platform, tmp_path: Path) -> None:
    found = real_panels.run(tmp_path, real_panels.engines(platform))
    assert found.empty == []
    assert found.of_vllm > 10
    assert found.generated > 0
