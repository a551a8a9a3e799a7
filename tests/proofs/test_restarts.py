"""The short form of `make proof-restarts`: gateway and backend are restarted once, and nobody notices."""

from __future__ import annotations

from pathlib import Path

from tests.proofs import restarts


def test_a_restart_of_the_gateway_and_of_a_backend_loses_no_request(tmp_path: Path) -> None:
    figures = restarts.run(tmp_path, gateways=1, backends=1)
    assert (figures.gateways, figures.backends) == (1, 1)
    assert not figures.is_short, f"{figures} {figures.tally.failures} {figures.problems}"
