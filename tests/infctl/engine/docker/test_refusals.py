"""Whatever Docker says is told with a cause and what to do; its own words go along."""

from __future__ import annotations

import pytest
import requests
from docker.errors import APIError, DockerException

from infctl.engine.docker import refusals
from infctl.engine.docker.refusals import Gone, ImageMissing, NameTaken, told
from infctl.errors import EngineError

PORTS = "driver failed programming external connectivity on endpoint x (abc): "
SAID = (
    (
        'Conflict. The container name "/vllm-chat" is already in use by container "0123456789abcdef".',
        NameTaken,
        "a container named vllm-chat already (0123456789ab)",
        "docker inspect vllm-chat",
    ),
    ("No such container: vllm-chat", Gone, "the container is gone", "again"),
    ("No such image: vllm:9", ImageMissing, "the image vllm:9 is not on the Docker host", "infctl pull"),
    (
        "pull access denied for acme/vllm, repository does not exist or may require 'docker login': denied",
        ImageMissing,
        "no such image, or it wants a login",
        "docker login",
    ),
    (
        "manifest for acme/vllm:9 not found: manifest unknown: manifest unknown",
        ImageMissing,
        "no such image",
        "name and tag",
    ),
    (
        'Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host',
        EngineError,
        "the registry does not answer",
        "docker load",
    ),
    (
        "toomanyrequests: You have reached your pull rate limit.",
        EngineError,
        "refuses more pulls",
        "docker login",
    ),
    (
        f"{PORTS}Bind for 127.0.0.1:8000 failed: port is already allocated",
        EngineError,
        "the port 127.0.0.1:8000 is taken",
        "profile",
    ),
    (
        f"{PORTS}Error starting userland proxy: listen tcp4 0.0.0.0:443: bind: address already in use",
        EngineError,
        "the port 0.0.0.0:443 is taken",
        "profile",
    ),
    (
        "write /var/lib/docker/tmp/x: no space left on device",
        EngineError,
        "disk is full",
        "docker system df",
    ),
    (
        'could not select device driver "nvidia" with capabilities: [[gpu]]',
        EngineError,
        "the NVIDIA Container Toolkit is missing",
        "nvidia-ctk runtime configure",
    ),
    (
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=7",
        EngineError,
        "no such CDI devices: nvidia.com/gpu=7",
        "nvidia-ctk cdi",
    ),
    (
        "OCI runtime create failed: nvidia-container-cli: device error: GPU-9: unknown device: unknown",
        EngineError,
        "there is no such GPU on the Docker host",
        "nvidia-smi -L",
    ),
    (
        "nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown",
        EngineError,
        "Toolkit refused: initialization error",
        "infctl doctor",
    ),
    (
        'invalid mount config for type "bind": bind source path does not exist: /srv/p/.env',
        EngineError,
        "/srv/p/.env is not there on the Docker host",
        "must exist",
    ),
    ("Pool overlaps with other one on this address space", EngineError, "subnet is used", "subnet"),
    (
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign",
        EngineError,
        "no free address range",
        "docker network prune",
    ),
    (
        "OCI runtime create failed: runc create failed: error setting rlimit type 8: operation not permitted",
        EngineError,
        "does not allow the limits",
        "LimitMEMLOCK",
    ),
    (
        'OCI runtime create failed: exec: "python3": executable file not found in $PATH: unknown',
        EngineError,
        "its image has no program python3",
        "image in the profile",
    ),
    (
        "error while removing network: network p_backend id 123 has active endpoints",
        EngineError,
        "a container that is none of ours",
        "disconnect",
    ),
    ("network p_backend not found", Gone, "the network p_backend is not there", "infctl up"),
    ("something nobody has met", EngineError, "something nobody has met", "infctl doctor"),
)


@pytest.mark.parametrize(("said", "kind", "why", "do"), SAID)
def test_the_engines_words_are_told_with_what_to_do(said: str, kind: type[EngineError], why: str, do: str):
    error = refusals.of_text("vllm-chat cannot be started", said)
    assert type(error) is kind
    assert error.message.startswith("vllm-chat cannot be started: ")
    assert why in error.message
    assert do in error.hint
    assert "{" not in error.message + error.hint


def refused(cause: BaseException) -> EngineError:
    with pytest.raises(EngineError) as caught, told("Docker cannot be used"):
        raise requests.exceptions.ConnectionError("('Connection aborted.', ...)") from cause
    return caught.value


@pytest.mark.parametrize(
    ("cause", "why", "do"),
    [
        (FileNotFoundError(2, "No such file"), "there is no Docker engine here", "install Docker"),
        (PermissionError(13, "Permission denied"), "may not be used by this user", "usermod -aG docker"),
        (ConnectionRefusedError(111, "refused"), "is not running", "systemctl start docker"),
    ],
)
def test_a_connection_that_fails_is_told_with_what_to_do(cause: OSError, why: str, do: str):
    error = refused(cause)
    assert why in error.message
    assert do in error.hint


def test_an_engine_that_does_not_answer_is_no_traceback():
    with pytest.raises(EngineError, match="did not answer in time"), told("x"):
        raise requests.exceptions.ReadTimeout("Read timed out. (read timeout=60)")
    with pytest.raises(EngineError, match="went away"), told("x"):
        raise requests.exceptions.ConnectionError("('Connection aborted.', RemoteDisconnected('closed'))")
    with pytest.raises(EngineError, match="version"), told("x"):
        raise DockerException("odd version")


def test_an_answer_of_404_is_gone_whatever_it_says():
    response = requests.Response()
    response.status_code = 404
    with pytest.raises(Gone), told("x"):
        raise APIError("404", response=response, explanation="nothing of that kind")


def test_our_own_errors_pass_as_they_are():
    mine = EngineError("mine")
    with pytest.raises(EngineError) as caught, told("x"):
        raise mine
    assert caught.value is mine
