"""Ports: free, ours, or somebody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.doctor.checks.ports import Held, Want, judge, look, of_containers
from infctl.doctor.docker import Docker, Running, running_of
from infctl.stack import Service, Stack
from infctl.stack.containers import Container, Port, Project

HTTPS = Want("nginx", "0.0.0.0", 443, "edge/https_port")
GATEWAY = Want("nginx", "127.0.0.1", 8000, "gateway/listen/port")


def look_at(*held: Held, lowest: int = 0, wanted=(HTTPS, GATEWAY)):
    return list(judge(wanted, held, lowest=lowest))


def test_free_ports_and_our_own_are_one_line():
    assert [one.what for one in look_at()] == ["ports free: 443, 8000"]
    (found,) = look_at(Held("0.0.0.0", 443, "container inference-nginx", ours=True))
    assert found.what == "ports free: 8000; held by this platform: 443"


def test_a_port_of_somebody_else_is_a_failure_that_names_who_and_the_field():
    found = look_at(Held("::", 443, "process 12 (apache2)", ours=False))
    assert [one.verdict for one in found] == ["failure", "ok"]
    assert found[0].what == "0.0.0.0:443 (nginx) is held by process 12 (apache2)"
    assert found[0].path == "edge/https_port"


def test_another_address_of_the_same_port_does_not_clash():
    assert [one.verdict for one in look_at(Held("10.0.0.1", 8000, "x", ours=False))] == ["ok"]
    assert [one.verdict for one in look_at(Held("10.0.0.1", 443, "x", ours=False))] == ["failure", "ok"]


def test_low_ports_need_a_privilege():
    found = look_at(lowest=1024)
    assert [one.verdict for one in found] == ["failure", "ok"]
    assert "ip_unprivileged_port_start=443" in found[0].fix


def test_what_containers_publish_is_told_by_their_names():
    running = (
        Running("a" * 64, "inference-nginx", "p", (("0.0.0.0", 443),)),
        Running("b" * 64, "web", "other", (("0.0.0.0", 80),)),
    )
    held = list(of_containers(running, {"a" * 64}))
    assert held == [
        Held("0.0.0.0", 443, "container inference-nginx", ours=True),
        Held("0.0.0.0", 80, "container web", ours=False),
    ]


def test_an_entry_of_docker_ps_is_read():
    found = running_of(
        {
            "Id": "c" * 64,
            "Names": ["/web"],
            "Labels": {"com.docker.compose.project": "p"},
            "Ports": [
                {"PrivatePort": 80},
                {"IP": "::", "PublicPort": 80, "PrivatePort": 80},
                {"PublicPort": 81},
            ],
        }
    )
    assert found == Running("c" * 64, "web", "p", (("0.0.0.0", 81), ("::", 80)))
    assert running_of({"Id": "d"}) == Running("d", "", "")


class Fixed(Docker):
    """An engine with these containers."""

    def containers(self, *, every=False):
        return self.info["containers"]


@pytest.fixture
def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def taken():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_real_listener_is_found_and_named(case, taken):
    service = Service("gateway", "gateway", ("x",), listen=(("127.0.0.1", taken),))
    made = case({"gateway": {"listen": {"port": taken}}}, stack=Stack("p", "process", (service,)))
    (found,) = look(made)
    assert (found.verdict, found.path) == ("failure", "gateway/listen/port")
    assert f"process {os.getpid()}" in found.what


def test_a_port_of_our_own_process_is_well(case, free_port, tmp_path: Path):
    """Known by the mark that every process of a platform carries."""
    made = case({"gateway": {"listen": {"port": free_port}}})
    env = {**os.environ, "INFCTL_STACK": os.path.realpath(made.layout.home), "INFCTL_SERVICE": "gateway"}
    serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(free_port)]
    service = Service("gateway", "gateway", ("x",), listen=(("127.0.0.1", free_port),))
    stack = Stack("p", "process", (service,))
    with subprocess.Popen(serve, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            found = next(iter(look(replace(made, stack=stack))))
            while "held" not in found.what and time.monotonic() < deadline:
                time.sleep(0.05)
                found = next(iter(look(replace(made, stack=stack))))
        finally:
            process.kill()
    assert (found.verdict, found.what) == ("ok", f"ports held by this platform: {free_port}")


def test_of_a_port_that_a_container_publishes_its_proxy_is_not_told(case, engine, taken):
    port = Port(taken, 443, "127.0.0.1")
    project = Project(
        "p", "docker-compose.yml", "/p", (Container("nginx", "edge", "nginx:1", ports=(port,)),)
    )
    stack = Stack("p", "docker", (), projects=(project,))
    for project_name, verdict in (("p", "ok"), ("other", "failure")):
        running = (Running("a" * 64, "inference-nginx", project_name, (("127.0.0.1", taken),)),)
        docker = Fixed("unix://", True, "28", (1, 50), {"containers": running})
        found = list(look(case({"runtime": "docker"}, docker=docker, stack=stack)))
        assert [one.verdict for one in found] == [verdict]
    assert "container inference-nginx" in found[0].what


def test_on_another_docker_host_only_its_containers_count(case, taken):
    project = Project(
        "p", "f", "/p", (Container("nginx", "edge", "nginx:1", ports=(Port(taken, 443, "127.0.0.1"),)),)
    )
    docker = Fixed("ssh://box", False, "28", (1, 50), {"containers": ()})
    made = case({"runtime": "docker"}, docker=docker, stack=Stack("p", "docker", (), projects=(project,)))
    assert [one.verdict for one in look(made)] == ["ok"]
