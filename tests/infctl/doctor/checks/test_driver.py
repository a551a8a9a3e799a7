"""The driver against the image's CUDA."""

from __future__ import annotations

import pytest

from infctl.doctor.checks.driver import cuda_of, judge
from infctl.doctor.docker import Image
from infctl.gpus.held import Driver

IMAGE = "vllm/vllm-openai:v0.32.0"


@pytest.mark.parametrize(
    ("name", "env", "cuda"),
    [
        (IMAGE, None, (13, 0)),
        ("docker.io/vllm/vllm-openai:v0.33.1", None, (13, 0)),
        (f"{IMAGE}-cu129", None, (12, 9)),
        (f"{IMAGE}-cu129@sha256:0f", None, (12, 9)),
        # What the image itself says goes before what its tag means.
        (IMAGE, {"CUDA_VERSION": "12.8.1"}, (12, 8)),
        (IMAGE, {"PATH": "/bin"}, (13, 0)),
        # Nobody says.
        ("vllm/vllm-openai:v0.20.0", None, None),
        ("vllm/vllm-openai:latest", None, None),
        ("registry.example/own-vllm:7", None, None),
        ("registry.example:5000/own-vllm", None, None),
    ],
)
def test_an_images_cuda_is_what_it_says_or_what_its_tag_means(name, env, cuda):
    assert cuda_of(name, None if env is None else Image(env=env)) == cuda


def test_a_driver_that_is_new_enough_is_well():
    assert judge(Driver("580.65.06"), (13, 0), IMAGE, forward=False).verdict == "ok"
    assert judge(Driver("535.104"), (12, 9), f"{IMAGE}-cu129", forward=False).verdict == "ok"
    assert judge(Driver("535.104"), None, "own:1", forward=False).verdict == "ok"


def test_a_driver_that_is_too_old_gets_the_image_that_it_runs():
    found = judge(Driver("570.86.15"), (13, 0), IMAGE, forward=False)
    assert (found.verdict, found.path) == ("failure", "engines/image")
    assert "driver 580" in found.fix
    assert f"image: {IMAGE}-cu129" in found.fix


@pytest.mark.parametrize(("driver", "image"), [("470.1", IMAGE), ("570.1", "registry.example/own-vllm:7")])
def test_no_image_is_proposed_that_would_not_run_or_that_nobody_knows(driver, image):
    found = judge(Driver(driver), (13, 0), image, forward=False)
    assert found.verdict == "failure"
    assert "cu129" not in found.fix


def test_with_cudas_forward_compatibility_an_old_driver_is_a_warning():
    found = judge(Driver("570.86.15"), (13, 0), IMAGE, forward=True)
    assert (found.verdict, found.path) == ("warning", "engines/env")


def test_no_driver_is_a_failure():
    found = judge(None, (13, 0), IMAGE, forward=False)
    assert found.verdict == "failure"
    assert "runtime: process" in found.fix
