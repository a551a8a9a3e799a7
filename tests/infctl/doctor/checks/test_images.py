"""Whether the images are on the Docker host."""

from __future__ import annotations

from infctl.doctor.checks.images import judge
from infctl.doctor.docker import Image
from infctl.stack.containers import Build, Container

HERE = Image(created="2026-01-01T00:00:00Z")
ENGINE = Container("chat", "engine", "vllm:1")
GATEWAY = Container("gateway", "gateway", "gw:1", build=Build("/p/gateway"))
PATHS = {"vllm:1": "engines/image"}


def look(images, *, pull="missing"):
    return list(judge(images, (ENGINE, GATEWAY), "amd64", pull=pull, path=PATHS))


def test_images_that_are_here_are_one_line():
    (found,) = look({"vllm:1": HERE, "gw:1": HERE})
    assert (found.verdict, found.what) == ("ok", "2 of 2 images are on the Docker host")


def test_those_that_are_fetched_or_built_first_are_warnings():
    found = look({"vllm:1": None, "gw:1": None})
    assert [(one.verdict, one.path) for one in found] == [("warning", ""), ("warning", "gateway/image")]


def test_nothing_would_fetch_one_that_may_not_be_pulled():
    found = look({"vllm:1": None, "gw:1": HERE}, pull="never")
    assert [(one.verdict, one.path) for one in found] == [("failure", "engines/pull"), ("ok", "")]


def test_one_for_another_machine_is_a_failure():
    found = look({"vllm:1": Image(architecture="arm64"), "gw:1": HERE})
    assert (found[0].verdict, found[0].path) == ("failure", "engines/image")
    assert "docker pull --platform linux/amd64 vllm:1" in found[0].fix
