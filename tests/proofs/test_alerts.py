"""The short form of `make proof-alerts`."""

from __future__ import annotations

from pathlib import Path

from tests.proofs import alerts


def test_what_goes_wrong_is_told_in_time_alone_and_until_it_is_over(tmp_path: Path) -> None:
    found = alerts.run(tmp_path, scale=0.01)
    assert found.wrong == []
    assert found.panels > 50
