"""The short form of `make proof-crash`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proofs import crash


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_killed_gateway_forgets_nothing_and_is_never_over(tmp_path: Path, kind: str) -> None:
    found, _ = crash.run(tmp_path, kind, 4, clients=8, seed=1)
    assert found.wrong == []
    assert found.kills["worker"] + found.kills["gateway"] == 4
