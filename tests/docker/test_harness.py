"""The harness itself: what a test leaves behind fails the run; a missing engine is a reason to skip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker import engine
from tests.docker.host import DockerHost

ROOT = Path(__file__).parents[2]
LEAVES = """
def test_it(docker_host):
    docker_host.client.containers.create("{image}", ["true"], name=docker_host.name())
    docker_host.client.volumes.create(docker_host.name())
    docker_host.client.networks.create("other", labels=docker_host.labels())
"""
TIDY = """
def test_it(docker_host):
    with docker_host.run("{image}", ["sleep", "60"]) as one:
        assert one.name.startswith("it-")
"""


def suite(folder: Path, text: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A suite of its own, with these fixtures."""
    (folder / "test_one.py").write_text(text)
    quick = "addopts = -p no:schemathesis -p no:langsmith_plugin"  # as in pyproject.toml
    (folder / "pytest.ini").write_text(f"[pytest]\n{quick}\nmarkers =\n  docker: docker\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "CI")) and k != engine.RUN}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-rs",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.docker.fixtures",
            str(folder),
        ],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_a_test_leaves_behind_is_removed_and_fails_the_run(
    docker_host: DockerHost, base_image: str, tmp_path: Path
) -> None:
    done = suite(tmp_path, LEAVES.format(image=base_image))
    assert done.returncode == 1, done.stdout
    assert "1 passed" in done.stdout
    (told,) = [line for line in done.stdout.splitlines() if "left behind on the Docker Engine" in line]
    for kind in ("container it-", "volume it-", "network other"):
        assert kind in told
    assert suite(tmp_path, TIDY.format(image=base_image)).returncode == 0


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"DOCKER_HOST": "unix:///nowhere.sock"}, "nobody answers at DOCKER_HOST=unix:///nowhere.sock"),
        ({"PATH": "/nowhere"}, "the docker command is not installed"),
    ],
)
def test_without_an_engine_a_test_is_skipped_with_the_reason(
    tmp_path: Path, env: dict[str, str], reason: str
) -> None:
    done = suite(tmp_path, "def test_it(docker_host): pass\n", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    assert reason in done.stdout
