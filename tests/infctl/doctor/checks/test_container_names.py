"""Names that Docker has once on a machine."""

from __future__ import annotations

from infctl.doctor.checks.container_names import judge, look
from infctl.doctor.docker import Docker, Running
from infctl.stack import Stack
from infctl.stack.containers import Container, Project

WANTED = {"inference-gateway": "gateway", "vllm-chat0": "chat0"}


def test_free_names_and_our_own_are_one_line():
    (found,) = judge(WANTED, {"inference-gateway": "p", "web": "x"}, {"p", "p-monitoring"})
    assert (found.verdict, found.what) == ("ok", "2 container names: 1 held by this platform, 1 free")


def test_a_name_of_another_project_or_of_none_is_a_failure():
    theirs, lost = judge(WANTED, {"inference-gateway": "other", "vllm-chat0": ""}, {"p"})
    assert theirs.what == "a container named inference-gateway exists already, of the Compose project other"
    assert theirs.fix.startswith("docker compose -p other down")
    assert (lost.verdict, lost.fix) == ("failure", "docker rm -f vllm-chat0, if nobody needs it")


class Ended(Docker):
    """An engine with one container that has ended."""

    def containers(self, *, every=False):
        return (Running("a" * 64, "vllm-chat0", "other"),) if every else ()


def test_one_that_has_ended_holds_its_name_too(case):
    containers = (
        Container("chat0", "engine", "v:1", name="vllm-chat0"),
        Container("prepare", "prepare", "v:1"),
    )
    stack = Stack("p", "docker", (), projects=(Project("p", "f", "/p", containers),))
    made = case({"runtime": "docker"}, docker=Ended("unix://", True, "28", (1, 50)), stack=stack)
    assert [one.verdict for one in look(made)] == ["failure"]
