"""A rendered platform, started by `docker compose up -d` alone: everything works without infctl.

The images are stand-ins (see tests/docker); files, networks, users and order are the rendered ones.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.conformance.test_nginx_containers import free_ports
from tests.docker.host import DockerProject, health, log, run_in, state, until
from tests.docker.hurried import hurried

HEALTHY_S = 90.0
KEY = "sk-first"


@dataclass
class Platform:
    project: DockerProject
    https: int
    plain: int
    prometheus: int

    def env(self, **variables: str) -> None:
        """As an editor saves it: a new file in the old one's place."""
        new = self.project.folder / ".env.new"
        new.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        new.chmod(0o644)
        new.replace(self.project.folder / ".env")

    def chat(self, key: str, *, tls: bool) -> int:
        trusted = ssl.create_default_context(cafile=str(self.project.folder / "nginx/tls/certificate.pem"))
        connection = (
            http.client.HTTPSConnection("localhost", self.https, timeout=20, context=trusted)
            if tls
            else http.client.HTTPConnection("127.0.0.1", self.plain, timeout=20)
        )
        body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3})
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()


@pytest.fixture
def platform(
    docker_project: DockerProject,
    docker_names: None,
    stand_in_image: str,
    gateway_image: str,
    nginx_image: str,
    prometheus_image: str,
    alertmanager_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    https, http_, plain, prometheus, alertmanager = free_ports(5)
    profile: dict[str, Any] = {
        "name": docker_project.name,
        "gpus": "cpu",
        "models": {
            "chat": {"source": {"path": "w"}, "task": "chat", "replicas": 2, "env": {"STAND_IN_LOAD_S": "1"}}
        },
        "engines": {"image": stand_in_image, "shm_size": "64MiB"},
        "gateway": {"image": gateway_image, "listen": {"port": plain}},
        "edge": {"image": nginx_image, "bind": "127.0.0.1", "https_port": https, "http_port": http_},
        "monitoring": {
            "prometheus": {
                "image": prometheus_image,
                "bind": "127.0.0.1",
                "port": prometheus,
                "scrape_interval": "1s",
            },
            "alertmanager": {"image": alertmanager_image, "port": alertmanager},
            "grafana": {"enabled": False},
        },
    }
    source = tmp_path_factory.mktemp("profile")
    (source / "p.yaml").write_text(yaml.safe_dump(profile))
    (source / "w").mkdir()
    render(source / "p.yaml", docker_project.folder)
    (docker_project.folder / "w").mkdir()
    made = Platform(docker_project, https, plain, prometheus)
    made.env(GATEWAY_API_KEY=KEY, BACKEND_API_KEY="sk-engines")
    return made


def render(profile: Path, folder: Path) -> None:
    from infctl.cli.app import app

    with hurried():
        done = CliRunner().invoke(app, ["render", "-f", str(profile), "-o", str(folder)])
    assert done.exit_code == 0, done.output


def test_a_rendered_folder_is_a_platform(platform: Platform) -> None:
    project = platform.project
    project.compose("up", "-d", "--no-build", timeout_s=300)
    for service in ("chat0", "chat1", "gateway", "nginx"):
        until(lambda s=service: health(project.container(s)) == "healthy", HEALTHY_S, f"{service} healthy")  # type: ignore[misc]
    for tls in (True, False):
        until(lambda t=tls: platform.chat(KEY, tls=t) == 200, HEALTHY_S, f"a chat, TLS {tls}")  # type: ignore[misc]
        assert platform.chat("sk-wrong", tls=tls) == 401

    everything_is_hardened(project)
    engines_have_no_way_out(project)

    again = project.compose("up", "-d", "--no-build")
    assert "Recreate" not in again.stderr, again.stderr

    platform.env(GATEWAY_API_KEY="sk-second", BACKEND_API_KEY="sk-engines")
    project.compose("restart", "gateway")
    until(lambda: platform.chat("sk-second", tls=True) == 200, HEALTHY_S, "the edited .env is taken")
    assert platform.chat(KEY, tls=True) == 401

    monitoring = ("-f", "docker-compose.monitoring.yml")
    project.compose(*monitoring, "up", "-d", "--no-build")
    until(lambda: reads_everything(platform), HEALTHY_S, "Prometheus reads every target")
    watching = DockerProject(project.host, f"{project.name}-monitoring", project.folder)
    for service in ("prometheus", "alertmanager"):
        until(lambda s=service: health(watching.container(s)) == "healthy", HEALTHY_S, f"{service} healthy")  # type: ignore[misc]
    project.compose(*monitoring, "down", "-v")

    project.compose("down", "-v", timeout_s=300)
    assert project.containers() == []


def everything_is_hardened(project: DockerProject) -> None:
    for one in project.containers():
        config = one.attrs["HostConfig"]
        name = one.labels["com.docker.compose.service"]
        assert config["ReadonlyRootfs"], name
        assert config["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in config["SecurityOpt"], name
        environment = one.attrs["Config"]["Env"]
        assert not any("sk-" in variable for variable in environment), name
        if name != "prepare":
            assert one.attrs["Config"]["User"] not in {"", "0", "0:0", "root"}, name
            code, said = (
                run_in(one, "python3", "-c", "open('/x', 'w')")
                if name != "nginx"
                else run_in(one, "touch", "/x")
            )
            assert code != 0, f"{name} could write its root: {said}"
        else:
            assert state(one)["ExitCode"] == 0, log(one)


def engines_have_no_way_out(project: DockerProject) -> None:
    """Docker itself keeps an internal network from the world; an engine is in no other one."""
    for service in ("chat0", "chat1"):
        (network,) = project.container(service).attrs["NetworkSettings"]["Networks"]
        assert project.host.client.networks.get(network).attrs["Internal"]
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
    assert run_in(project.container("chat0"), "python3", "-c", code)[0] != 0


def reads_everything(platform: Platform) -> bool:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{platform.prometheus}/api/v1/targets", timeout=5
        ) as reply:
            targets = json.load(reply)["data"]["activeTargets"]
    except OSError:
        return False
    up = sorted(target["labels"]["job"] for target in targets if target["health"] == "up")
    return up == ["alertmanager", "gateway", "prometheus", "vllm", "vllm"]
