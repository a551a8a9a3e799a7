"""The short form of `make proof-quota`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proofs import quota


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_no_quota_is_passed_and_what_is_counted_is_what_was_used(tmp_path: Path, kind: str) -> None:
    found = quota.run(tmp_path, kind, seconds=4.0, clients=16, seed=1)
    assert found.wrong == []
    assert found.statuses[429]
