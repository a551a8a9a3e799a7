"""The short form of `make proof-rolling`: an engine and the gateway are replaced, and nobody notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.host import DockerHost
from tests.e2e import proof_rolling as proof

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def test_replaces_lose_no_request_and_break_no_stream(
    docker_host: DockerHost, stand_in_image: str, gateway_image: str, nginx_image: str, tmp_path: Path
) -> None:
    del stand_in_image, gateway_image, nginx_image  # made before, or skipped with the reason
    tmp_path.chmod(0o755)
    figures = proof.Figures()
    proof.stand_ins(docker_host, tmp_path, figures, engine_replaces=2, gateway_replaces=1)
    assert figures.problems == []
    assert (figures.failed, figures.broken) == (0, 0), figures.tallies[0].failures
    assert figures.replaced == {"engine": 2, "gateway": 1}
