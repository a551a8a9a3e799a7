"""Where nothing is to be done `infctl up` says so at once: by a clock, on an engine that serves no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.host import DockerHost
from tests.e2e.containers import platform
from tests.infctl import cpu_time

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
LIMIT_S = 1.0


@pytest.mark.serial
def test_up_with_nothing_to_do_takes_less_than_a_second(
    docker_host: DockerHost, tmp_path: Path, stand_in_image: str, gateway_image: str, nginx_image: str
) -> None:
    tmp_path.chmod(0o755)
    images = {"engine": stand_in_image, "gateway": gateway_image, "nginx": nginx_image}
    with platform(docker_host, tmp_path, images) as made:
        made.ok("up")
        best = cpu_time.by_clock(lambda: made.spawn("up"), LIMIT_S)
        assert made.json("up")["changes"] is False
    assert best < LIMIT_S, f"{best:.3f} s"
