"""The short form of the real part of `make proof-rolling`: a real vLLM is replaced, another answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.host import DockerHost
from tests.e2e import proof_rolling as proof

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


@pytest.mark.stack
def test_replicas_of_a_real_vllm_are_replaced_while_the_other_one_answers(
    docker_host: DockerHost, vllm_cpu_image: str, gateway_image: str, nginx_image: str, tmp_path: Path
) -> None:
    del vllm_cpu_image, gateway_image, nginx_image
    tmp_path.chmod(0o755)
    figures = proof.Figures()
    proof.vllm(docker_host, tmp_path, figures, rounds=1)
    assert figures.problems == []
    assert (figures.failed, figures.broken) == (0, 0), figures.tallies[0].failures
