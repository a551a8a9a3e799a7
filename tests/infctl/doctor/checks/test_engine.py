"""The Docker engine itself, made up and real."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.doctor.check import run
from infctl.doctor.checks import CHECKS
from infctl.doctor.checks.engine import judge
from infctl.doctor.docker import Docker
from infctl.doctor.docker import look as look_at_docker
from infctl.doctor.once import Once
from infctl.engine.docker.refusals import translated
from infctl.stack import Stack
from tests.docker.host import DockerHost

DOCKER = next(check for check in CHECKS if check.name == "docker")
NEEDS = [check for check in CHECKS if "docker" in check.needs and check.runtime == "docker"]


def verdicts(docker, low_ports=(), *, gpus=False):
    return [one.verdict for one in judge(docker, low_ports=low_ports, gpus=gpus)]


def test_an_engine_as_it_should_be_is_one_line(engine):
    (found,) = judge(engine(), low_ports=(80, 443), gpus=True)
    assert (found.verdict, found.what) == (
        "ok",
        "Docker Engine 28.2.2 (API 1.50) at unix:///var/run/docker.sock",
    )


def test_another_kind_of_machine_is_a_failure(engine):
    assert verdicts(engine(info={"Architecture": "aarch64"})) == ["ok", "failure"]
    assert verdicts(engine(info={"OSType": "windows"})) == ["ok", "failure"]


def test_rootless_docker_opens_no_low_ports(engine):
    rootless = engine(info={"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]})
    assert verdicts(rootless, (80, 443)) == ["ok", "failure"]
    assert verdicts(rootless) == ["ok"]


def test_mapped_users_vfs_and_a_desktop_are_warnings(engine):
    assert verdicts(engine(info={"SecurityOptions": ["name=userns"]})) == ["ok", "warning"]
    assert verdicts(engine(info={"Driver": "vfs"})) == ["ok", "warning"]
    desktop = engine(info={"OperatingSystem": "Docker Desktop"})
    assert verdicts(desktop, gpus=True) == ["ok", "warning"]
    assert verdicts(desktop) == ["ok"]


def refused(error: OSError) -> Docker:
    raise translated("Docker cannot be used", error)


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (lambda folder: look_at_docker({"DOCKER_HOST": f"unix://{folder}/none.sock"}), "install Docker"),
        (
            lambda folder: look_at_docker({"DOCKER_HOST": f"unix://{folder}/left.sock"}),
            "systemctl start docker",
        ),
        (lambda _: refused(PermissionError(13, "Permission denied")), "usermod -aG docker"),
        (lambda _: look_at_docker({"DOCKER_HOST": "tcp://127.0.0.1:1"}), "start it"),
    ],
)
def test_without_an_engine_one_check_says_so_and_the_others_are_skipped(case, tmp_path: Path, look, said):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left.sock"))  # nobody listens any more
    found = case({"runtime": "docker"})
    found = replace(found, docker=Once(lambda: look(tmp_path)), stack=Stack("p", "docker", ()))
    told = list(run([DOCKER, *NEEDS], found))
    assert [one.verdict for one in told] == ["failure", *["skipped"] * len(NEEDS)]
    assert said in told[0].fix


def test_the_engine_of_this_machine_answers(docker_host: DockerHost, base_image: str):
    docker = look_at_docker(os.environ)
    assert docker.client is not None
    with contextlib.closing(docker.client):
        assert docker.version
        assert docker.root
        assert docker.image("infctl.invalid/none:1") is None
        here = docker.image(base_image)
        assert here is not None
        assert (here.architecture, bool(here.created)) == ("amd64", True)
        assert isinstance(docker.containers(), tuple)
