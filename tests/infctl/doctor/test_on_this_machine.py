"""The checks on a real Docker Engine: a platform that would start here, then one thing broken at a time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.docker.host import DockerProject

ENGINES = ("docker", "remote", "compose", "images", "mounts", "ports", "env", "certificate", "state", "disk")
KEYS = "GATEWAY_API_KEY={0}1\nBACKEND_API_KEY={0}2\nADMIN_API_KEY={0}3\n".format(
    "mD1x7Qv0hTn3cKp9ZsYb2LwRu8fGe6A"
)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Platform:
    """A profile in a folder, and what doctor says of it."""

    def __init__(self, project: DockerProject, image: str) -> None:
        self.folder = project.folder
        self.text: dict[str, Any] = {
            "name": project.name,
            "runtime": "docker",
            "gpus": "cpu",
            "models": {"chat": {"source": {"path": "chat"}, "task": "chat"}},
            "engines": {"image": image},
            "gateway": {"image": image, "listen": {"port": free_port()}},
            "edge": {
                "image": image,
                "bind": "127.0.0.1",
                "https_port": free_port(),
                "http_port": free_port(),
            },
            "monitoring": {"enabled": False},
        }
        (self.folder / "chat").mkdir()
        (self.folder / "chat" / "config.json").write_text("{}")
        (self.folder / "chat" / "config.json").chmod(0o644)
        self.env = self.folder / ".env"
        self.env.write_text(KEYS)
        self.env.chmod(0o600)

    def doctor(self, *only: str, **env: str) -> dict[str, dict[str, Any]]:
        """Check -> its first finding that is not ok, else its first."""
        (self.folder / "infctl.yaml").write_text(yaml.safe_dump(self.text, sort_keys=False))
        names = [word for name in only or ENGINES for word in ("--only", name)]
        done = subprocess.run(
            [sys.executable, "-m", "infctl", "doctor", "--offline", "--json", *names],
            cwd=self.folder,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in {0, 8}, done.stderr
        told: dict[str, dict[str, Any]] = {}
        for finding in json.loads(done.stdout)["findings"]:
            told.setdefault(finding["check"], finding)
            if finding["verdict"] not in {"ok", "skipped"} and told[finding["check"]]["verdict"] == "ok":
                told[finding["check"]] = finding
        assert done.returncode == (8 if any(one["verdict"] == "failure" for one in told.values()) else 0)
        return told


@pytest.fixture
def platform(docker_project: DockerProject, base_image: str) -> Platform:
    docker_project.folder.chmod(0o755)
    return Platform(docker_project, base_image)


def test_a_platform_that_would_start_here_has_no_failure_and_nothing_is_made(platform: Platform) -> None:
    told = platform.doctor()
    assert set(told) == set(ENGINES)
    assert {name for name, one in told.items() if one["verdict"] == "failure"} == set(), told
    assert told["compose"]["verdict"] == "ok"
    assert told["images"]["what"].endswith("images are on the Docker host")
    assert sorted(path.name for path in platform.folder.iterdir()) == [".env", "chat", "infctl.yaml"]


def test_a_port_that_another_process_holds(platform: Platform) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        platform.text["edge"]["https_port"] = taken.getsockname()[1]
        found = platform.doctor("ports")["ports"]
    assert (found["verdict"], found["path"]) == ("failure", "edge/https_port")
    assert f"process {os.getpid()}" in found["what"]
    assert found["line"] == 18


def test_an_image_that_is_not_there(platform: Platform) -> None:
    platform.text["engines"]["image"] = "infctl.invalid/engine:1"
    assert platform.doctor("images")["images"]["verdict"] == "warning"
    platform.text["engines"]["pull"] = "never"
    found = platform.doctor("images")["images"]
    assert (found["verdict"], found["path"]) == ("failure", "engines/pull")


def test_a_model_that_the_engines_user_cannot_read(platform: Platform) -> None:
    platform.text["hardening"] = {"user": "54321:54321"}
    (platform.folder / "chat" / "config.json").chmod(0o600)
    found = platform.doctor("mounts")["mounts"]
    assert (found["verdict"], "chat/config.json cannot be read by chat" in found["what"]) == ("failure", True)
    assert found["path"] == "models/chat/source"


def test_no_engine_where_docker_host_points(platform: Platform) -> None:
    told = platform.doctor(DOCKER_HOST=f"unix://{platform.folder}/none.sock")
    assert (told["docker"]["verdict"], "install Docker" in told["docker"]["fix"]) == ("failure", True)
    assert {told[name]["verdict"] for name in ("remote", "images", "mounts", "ports")} == {"skipped"}
    # What needs no engine is looked at all the same.
    assert told["compose"]["verdict"] == "ok"
    assert told["env"]["verdict"] == "ok"


def test_a_key_that_is_missing_is_what_compose_would_stumble_over_too(platform: Platform) -> None:
    platform.env.unlink()
    told = platform.doctor("env", "compose")
    assert told["env"]["verdict"] == "failure"
