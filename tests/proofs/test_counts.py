"""The short form of `make proof-counts`."""

from __future__ import annotations

from pathlib import Path

from tests.proofs import counts


def test_metrics_log_and_audit_trail_count_what_was_asked(tmp_path: Path) -> None:
    found = counts.run(tmp_path, requests=300, seed=1)
    assert found.wrong == []
    assert found.outcomes.keys() >= {"ok", "refused", "rejected", "client_gone", "upstream_error"}
