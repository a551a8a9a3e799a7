"""The image that stands in for vLLM: answers, signals and failures are those that tests count on."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.docker.host import DockerHost, ask, log, run_in, state, until

pytestmark = pytest.mark.docker

ARGV = ["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "a/b", "--served-model-name", "m"]
POST = """
import sys, urllib.request as u
r = u.Request("http://127.0.0.1:8000" + sys.argv[1], sys.argv[2].encode(), {"authorization": "Bearer k"})
print(u.urlopen(r, timeout=60).read().decode())
"""


def listening(container) -> bool:
    assert state(container)["Running"], log(container)
    return "Starting vLLM server" in log(container)


def test_it_answers_as_vllm_does(docker_host: DockerHost, stand_in_image: str) -> None:
    with docker_host.run(stand_in_image, ARGV, environment={"VLLM_API_KEY": "k"}, network_mode="none") as one:
        until(lambda: listening(one), 20, "it listens")
        assert "vllm:cache_config_info{" in ask(one, "http://127.0.0.1:8000/metrics")
        chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
        _, said = run_in(one, "python3", "-c", POST, "/v1/chat/completions", json.dumps(chat))
        assert json.loads(said)["usage"]["completion_tokens"] == 3
        _, said = run_in(
            one, "python3", "-c", POST, "/v1/chat/completions", json.dumps(chat | {"stream": True})
        )
        assert said.count("data: ") == 4
        assert said.strip().endswith("data: [DONE]")
        code, said = run_in(one, "python3", "-c", POST.replace("Bearer k", "Bearer x"), "/v1/rerank", "{}")
        assert code != 0
        assert "401" in said


def test_a_stream_in_flight_ends_before_it_stops(docker_host: DockerHost) -> None:
    image = docker_host.images.stand_in(TOKEN_S="0.05")
    with docker_host.run(image, [*ARGV, "--shutdown-timeout", "20"], network_mode="none") as one:
        until(lambda: listening(one), 20, "it listens")
        said: list[tuple[int, str]] = []
        body = json.dumps({"model": "m", "messages": [], "max_tokens": 60, "stream": True})
        asked = threading.Thread(
            target=lambda: said.append(run_in(one, "python3", "-c", POST, "/v1/chat/completions", body))
        )
        asked.start()
        running = 'vllm:num_requests_running{engine="0",model_name="m"} 1.0'
        until(lambda: running in ask(one, "http://127.0.0.1:8000/metrics"), 10, "it runs")
        began = time.monotonic()
        one.stop(timeout=30)
        assert 0.5 < time.monotonic() - began < 15
        asked.join(10)
        assert "[DONE]" in said[0][1]
        assert state(one)["ExitCode"] == 0


@pytest.mark.parametrize(
    ("env", "argv", "code", "words"),
    [
        (
            {"FAIL": "torch.OutOfMemoryError: CUDA out of memory."},
            [],
            1,
            "OutOfMemoryError: CUDA out of memory",
        ),
        ({}, ["--frobnicate"], 2, "error: unrecognized arguments: --frobnicate"),
    ],
)
def test_it_fails_as_it_is_told(docker_host, env, argv, code, words) -> None:
    with docker_host.run(docker_host.images.stand_in(**env), [*ARGV, *argv], network_mode="none") as one:
        assert one.wait(timeout=30)["StatusCode"] == code
        assert words in log(one)


def test_nothing_is_left_of_a_project(docker_project, stand_in_image: str) -> None:
    (docker_project.folder / "docker-compose.yml").write_text(
        f"""
name: {docker_project.name}
services:
  chat:
    image: {stand_in_image}
    command: {json.dumps(ARGV)}
    volumes: ["kept:/kept"]
volumes: {{kept: {{}}}}
"""
    )
    docker_project.compose("up", "-d")
    assert len(docker_project.containers("chat")) == 1
    docker_project.remove()
    assert docker_project.containers() == []
    client = docker_project.host.client
    assert not [n for n in client.networks.list() if docker_project.name in str(n.name)]
    assert not [v for v in client.volumes.list() if docker_project.name in str(v.name)]
