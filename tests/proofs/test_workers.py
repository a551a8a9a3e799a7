"""The short form of `make proof-workers`: each of two workers is killed once, and only its clients notice."""

from __future__ import annotations

from pathlib import Path

from tests.proofs import workers


def test_a_killed_worker_is_noticed_by_its_own_clients_alone(tmp_path: Path) -> None:
    figures = workers.run(tmp_path, kills=2, pause_s=0.5, clients=8, limit_s=workers.START_S)
    assert figures.short() == [], figures
    assert figures.kills == 2
