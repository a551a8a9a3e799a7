"""The gateway's image, built and run: small, without root, without tools, and it says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.models.containers import Container

import infctl
from tests.docker.host import DockerHost, ask, health, log, run_in, state, until

pytestmark = pytest.mark.docker

DENIED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "network_mode": "none",
    "tmpfs": {"/tmp": "size=16777216,mode=1777"},
}
CONFIG = {
    "listen": {"host": "0.0.0.0", "port": 8000},
    "env_file": "/run/infctl/.env",
    "models": [
        {
            "name": "chat",
            "served_name": "chat",
            "tasks": ["chat"],
            "backends": [{"id": "vllm-chat0", "url": "http://vllm-chat0:8000"}],
        }
    ],
}
VALIDATE = ("python", "-c", "from app.config import settings; settings.validate()")


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """What is mounted: readable by everybody, as the rendered folder is."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / ".env").write_text("GATEWAY_API_KEY=k3y-of-the-clients\n")
    for path, mode in ((folder, 0o755), (folder / "gateway.yaml", 0o644), (tmp_path / ".env", 0o644)):
        path.chmod(mode)
    return folder


@pytest.fixture
def running(docker_host: DockerHost, gateway_image: str, etc: Path) -> Iterator[Container]:
    volumes = [f"{etc}:/etc/infctl:ro", f"{etc.parent / '.env'}:/run/infctl/.env:ro"]
    with docker_host.run(gateway_image, user="1234:1234", volumes=volumes, **DENIED) as container:
        until(lambda: health(container) == "healthy" or not state(container)["Running"], 30, "it is healthy")
        assert health(container) == "healthy", log(container)
        yield container


def test_it_serves_as_any_user_without_rights_or_a_place_to_write(running: Container) -> None:
    assert ask(running, "http://127.0.0.1:8000/health/live").strip() == '{"status":"ok"}'
    assert "infctl_build_info" in ask(running, "http://127.0.0.1:8000/metrics")
    assert "Swagger UI" in ask(running, "http://127.0.0.1:8000/docs")
    running.stop(timeout=20)
    assert state(running)["ExitCode"] == 0


def test_its_environment_says_where_its_configuration_is_and_no_key(running: Container) -> None:
    code, said = run_in(running, "sh", "-c", "env | grep GATEWAY")
    assert code == 0
    assert sorted(said.splitlines()) == [
        "GATEWAY_CONFIG=/etc/infctl/gateway.yaml",
        f"GATEWAY_VERSION={infctl.__version__}",
    ]
    assert run_in(running, "python", "-m", "gateway", "--version") == (0, f"{infctl.__version__}\n")


def test_its_settings_are_found_good(running: Container) -> None:
    code, said = run_in(running, *VALIDATE)
    assert code == 0
    assert said.splitlines() == [
        "chat: chat: vllm-chat0 (http://vllm-chat0:8000)",
        "/etc/infctl/gateway.yaml: 1 models, nothing wrong",
    ]
    code, said = run_in(
        running, "python", "-c", "from app.config import settings; print(settings.timeouts.drain_s)"
    )
    assert (code, said) == (0, "120.0\n")


@pytest.mark.parametrize(
    ("broken", "env", "words"),
    [
        ({"listen": {"port": "x"}}, "GATEWAY_API_KEY=k", "Expected `int`, got `str` - at `$.listen.port`"),
        ({}, "", "keys.shared_env: GATEWAY_API_KEY is not set: give it a value in /run/infctl/.env"),
    ],
    ids=["a bad field", "no key"],
)
def test_what_is_wrong_is_said_in_words(running: Container, etc: Path, broken, env, words) -> None:
    (etc / "gateway.yaml").write_text(yaml.safe_dump(CONFIG | broken))
    (etc.parent / ".env").write_text(env)
    code, said = run_in(running, *VALIDATE)
    assert code == 3
    assert said.startswith("error: /etc/infctl/gateway.yaml: ")
    assert words in said
    assert "Traceback" not in said


def test_without_a_configuration_it_ends_and_says_so(docker_host: DockerHost, gateway_image: str) -> None:
    with docker_host.run(gateway_image, **DENIED) as container:
        assert container.wait(timeout=30)["StatusCode"] == 3
        assert "/etc/infctl/gateway.yaml: " in log(container)


def test_no_tool_to_build_or_install_is_in_it(running: Container) -> None:
    names = ("pip", "pip3", "gcc", "cc", "make", "git")
    _, said = run_in(running, "sh", "-c", f"for n in {' '.join(names)}; do command -v $n; done")
    assert said == ""
    for module in ("pip", "setuptools", "ensurepip"):
        assert run_in(running, "python", "-c", f"import {module}")[0] != 0


def test_it_adds_little_to_its_base(docker_host: DockerHost, gateway_image: str, base_image: str) -> None:
    images = docker_host.client.images
    added = images.get(gateway_image).attrs["Size"] - images.get(base_image).attrs["Size"]
    assert added < 60 * 10**6


def test_it_is_not_root_and_says_how_it_is_asked_for_its_health(
    docker_host: DockerHost, gateway_image: str
) -> None:
    config = docker_host.client.images.get(gateway_image).attrs["Config"]
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    assert "/health/live" in config["Healthcheck"]["Test"][-1]
    assert not config.get("Entrypoint")


def test_prepare_hands_over_keys_and_volumes_with_two_capabilities(
    docker_host: DockerHost, gateway_image: str, etc: Path
) -> None:
    """As Compose runs it: root with CHOWN and DAC_OVERRIDE alone, and a .env that only its owner can read."""
    env = etc.parent / ".env"
    env.write_text("BACKEND_API_KEY=b4ckend\n")
    env.chmod(0o400)
    volume = docker_host.client.volumes.create(docker_host.name(), labels=docker_host.labels())
    argv = ["--env", "/run/infctl/.env", "--owner", "1234:1234", "--own", "/v/owned"]
    argv += ["--need", "BACKEND_API_KEY", "--key", "BACKEND_API_KEY=/v/backend"]
    mounts = [f"{volume.name}:/v", f"{env}:/run/infctl/.env:ro"]
    more = DENIED | {"volumes": mounts, "cap_add": ["CHOWN", "DAC_OVERRIDE"], "user": "0:0"}
    try:
        with docker_host.run(gateway_image, ["mkdir", "/v/owned"], **more) as container:
            container.wait(timeout=30)
        for _ in range(2):
            with docker_host.run(
                gateway_image, argv, entrypoint=["python", "-m", "app.prepare"], **more
            ) as container:
                assert container.wait(timeout=30)["StatusCode"] == 0, log(container)
        check = "cat /v/backend && touch /v/owned/x && ls -ln /v/backend"
        with docker_host.run(
            gateway_image, ["sh", "-c", check], user="1234:1234", **DENIED | {"volumes": mounts[:1]}
        ) as container:
            assert container.wait(timeout=30)["StatusCode"] == 0, log(container)
            assert log(container).startswith("b4ckend-r-------- 1 1234 1234 ")
        with docker_host.run(
            gateway_image, ["cat", "/v/backend"], user="4321:4321", **DENIED | {"volumes": mounts[:1]}
        ) as container:
            assert container.wait(timeout=30)["StatusCode"] != 0
    finally:
        volume.remove(force=True)
