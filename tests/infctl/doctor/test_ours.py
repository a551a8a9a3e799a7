"""Which processes and containers are the platform's own, on a real engine."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from infctl.doctor.docker import look as look_at_docker
from infctl.doctor.once import Once
from infctl.doctor.ours import own_containers, own_processes
from tests.docker.host import DockerProject


def test_containers_of_the_project_and_all_that_runs_in_them(
    case, docker_project: DockerProject, base_image: str
):
    client = docker_project.host.client
    labels = {**docker_project.host.labels(), "com.docker.compose.project": docker_project.name}
    sleep = ["sleep", "60"]
    ours = client.containers.run(
        base_image, sleep, detach=True, labels=labels, ports={"80/tcp": ("127.0.0.1", None)}
    )
    other = client.containers.run(base_image, sleep, detach=True, labels=docker_project.host.labels())
    try:
        ours.reload()
        other.reload()
        docker = look_at_docker(os.environ)
        assert docker.client is not None
        with contextlib.closing(docker.client):
            made = replace(
                case({"runtime": "docker", "name": docker_project.name}), docker=Once(lambda: docker)
            )
            (found,) = own_containers(made)
            pids = own_processes(made)
        assert (found.id, found.name) == (ours.id, ours.name)
        port = int(ours.ports["80/tcp"][0]["HostPort"])
        assert found.ports == (("127.0.0.1", port),)
        assert ours.attrs["State"]["Pid"] in pids
        assert other.attrs["State"]["Pid"] not in pids
        assert os.getpid() not in pids
    finally:
        ours.remove(force=True)
        other.remove(force=True)


def test_without_an_engine_or_a_folder_nothing_is_ours(case):

    assert own_processes(case()) == frozenset()
    assert own_processes(replace(case(), layout=None)) == frozenset()
