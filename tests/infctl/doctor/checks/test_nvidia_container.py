"""nvidia-smi inside a container."""

from __future__ import annotations

import contextlib
import os

import pytest

from infctl.doctor.checks.nvidia_container import LABEL, Answer, ask, judge
from infctl.doctor.docker import look as look_at_docker
from infctl.errors import EngineError
from infctl.stack.containers import Container, Devices
from tests.docker.host import DockerHost

ENGINE = Container("chat0", "engine", "vllm/vllm-openai:v0.32.0", devices=Devices("nvidia", ("0", "1")))
TWO = "GPU 0: NVIDIA L4 (UUID: GPU-1)\nGPU 1: NVIDIA L4 (UUID: GPU-2)\n"


def test_as_many_cards_as_asked_for_are_well():
    found = judge(Answer(0, TWO), ENGINE)
    assert (found.verdict, "NVIDIA L4, NVIDIA L4" in found.what) == ("ok", True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(0, TWO.splitlines()[0]), "asks for 2 cards sees 1"),
        (Answer(0, ""), "sees 0"),
        (Answer(255, "Failed to initialize NVML: Unknown Error\n"), "lose their GPUs"),
        (Answer(9, "Failed to initialize NVML: Driver/library version mismatch"), "lose their GPUs"),
        (Answer(12, "nvidia-smi: cannot execute"), "ended with code 12"),
    ],
)
def test_every_other_answer_is_a_failure_with_what_it_said(answer, said):
    found = judge(answer, ENGINE)
    assert found.verdict == "failure"
    assert said in found.what
    assert found.fix


def test_an_engine_without_gpus_refuses_and_leaves_nothing_behind(docker_host: DockerHost, base_image: str):
    docker = look_at_docker(os.environ)
    assert docker.client is not None
    with contextlib.closing(docker.client):
        with pytest.raises(EngineError) as refused:
            ask(docker, Container("chat0", "engine", base_image, devices=Devices("nvidia", ("0",))))
        assert "NVIDIA Container Toolkit" in refused.value.message
        mine = {"label": f"{LABEL}=nvidia-container"}
        assert docker.client.api.containers(all=True, filters=mine) == []
