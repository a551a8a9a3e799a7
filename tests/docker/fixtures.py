"""The fixtures of tests that need Docker: see README.md here. A plug-in of tests/conftest.py."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from tests.docker import engine
from tests.docker.host import DockerHost, DockerProject, orphans
from tests.docker.images import Images, NotHereError

NAMES = Path("/tmp/docker-names.lock")
"""Stands for the platform's fixed names."""


def pytest_configure() -> None:
    os.environ.setdefault(engine.RUN, secrets.token_hex(2))  # workers inherit it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who asks for the engine needs it, whether marked or not."""
    for item in items:
        if "docker_host" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.docker)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What the run left behind fails it. Then the engine that it started ends."""
    if hasattr(session.config, "workerinput"):
        return  # of several workers: the one above them, after they have ended
    if used().exists():
        used().unlink()
        client = docker.from_env()
        left = orphans(client)
        client.close()
        if left:
            reporter = session.config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None:
                reporter.write_line(f"left behind on the Docker Engine: {', '.join(left)}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    engine.stop()


def used() -> Path:
    return engine.cache() / f"used-{engine.run_id()}"


@pytest.fixture(scope="session")
def docker_host() -> Iterator[DockerHost]:
    """A Docker Engine with Compose, or a skip that says what is missing."""
    if why := engine.why_not():
        pytest.skip(why)
    used().touch()
    client = docker.from_env(timeout=120)
    yield DockerHost(client, Images(client))
    client.close()


@pytest.fixture
def docker_project(docker_host: DockerHost, tmp_path: Path) -> Iterator[DockerProject]:
    """A project of the test's own in `tmp_path`, gone after it."""
    with docker_host.project(tmp_path) as project:
        yield project


@contextmanager
def taken(names: Path) -> Iterator[None]:
    """Nobody else on this machine has what the file stands for."""
    with names.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def docker_names(docker_host: DockerHost) -> Iterator[None]:
    """Whoever starts containers under the platform's fixed names (inference-gateway ...) holds this."""
    with taken(NAMES):
        yield


def made(make: Callable[[], str]) -> str:
    try:
        return make()
    except NotHereError as why:
        pytest.skip(str(why))


@pytest.fixture(scope="session")
def base_image(docker_host: DockerHost) -> str:
    """Debian with Python 3.11."""
    return made(docker_host.images.base)


@pytest.fixture(scope="session")
def stand_in_image(docker_host: DockerHost) -> str:
    """Acts like a vLLM; with other manners: `docker_host.images.stand_in(LOAD_S="2")`."""
    return made(docker_host.images.stand_in)


@pytest.fixture(scope="session")
def gateway_image(docker_host: DockerHost) -> str:
    """The product's own, from gateway/Dockerfile."""
    return made(docker_host.images.gateway)


@pytest.fixture(scope="session")
def nginx_image(docker_host: DockerHost) -> str:
    """The edge: nginx 1.31."""
    return made(docker_host.images.nginx)


@pytest.fixture(scope="session")
def vllm_cpu_image(docker_host: DockerHost) -> str:
    """Real vLLM for the CPU."""
    return made(docker_host.images.vllm_cpu)


@pytest.fixture(scope="session")
def prometheus_image(docker_host: DockerHost) -> str:
    """Debian's Prometheus."""
    return made(docker_host.images.prometheus)


@pytest.fixture(scope="session")
def alertmanager_image(docker_host: DockerHost) -> str:
    """Debian's Alertmanager."""
    return made(docker_host.images.alertmanager)


@pytest.fixture(scope="session")
def redis_image(docker_host: DockerHost) -> str:
    """Debian's Redis."""
    return made(docker_host.images.redis)


@pytest.fixture(scope="session")
def grafana_image(docker_host: DockerHost) -> str:
    """Stands in for Grafana."""
    return made(docker_host.images.grafana)
