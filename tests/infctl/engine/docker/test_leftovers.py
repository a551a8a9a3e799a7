"""What an interrupted replace left is recognised by its name, whatever else is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infctl.engine.docker.leftovers import settle
from infctl.engine.docker.observed import Seen
from infctl.stack.containers import Container, Project

PROJECT = Project("p", "f", "/p", (Container("chat", "engine", "i", name="vllm-chat"),))
READY = Seen("", "", "p", "chat", status="running", health="healthy")
LOADING = replace(READY, health="starting")
ENDED = replace(READY, status="exited", health="")
CREATED = replace(READY, status="created", health="")


def told(**found: Seen) -> tuple[list[str], list[str]]:
    """(names that are there in the end, repairs); of containers named by their endings."""
    names = {"main": "vllm-chat", "old": "vllm-chat-old", "next": "vllm-chat-next", "odd": "1234_vllm-chat"}
    containers = [replace(one, id=key, name=names[key]) for key, one in found.items()]
    settled = settle(containers, (PROJECT,))
    repairs = [f"{one.verb} {one.container.id}" for one in settled.repairs]
    return [f"{one.id} is {one.name}" for one in settled.containers], repairs


@pytest.mark.parametrize(
    ("found", "stays", "repairs"),
    [
        ({"main": READY}, "main", []),
        ({"main": ENDED}, "main", []),
        ({"main": READY, "old": ENDED}, "main", ["remove old"]),
        ({"main": LOADING, "old": ENDED}, "old", ["remove main", "rename old"]),
        ({"main": CREATED, "old": ENDED}, "old", ["remove main", "rename old"]),
        ({"old": ENDED}, "old", ["rename old"]),
        ({"main": READY, "next": CREATED}, "main", ["remove next"]),
        ({"main": READY, "next": READY}, "main", ["remove next"]),
        ({"main": ENDED, "next": READY}, "next", ["remove main", "rename next"]),
        ({"next": READY}, "next", ["rename next"]),
        ({"main": ENDED, "next": CREATED}, "main", ["remove next"]),
        ({"old": ENDED, "next": CREATED}, "old", ["remove next", "rename old"]),
        ({"main": READY, "old": ENDED, "next": CREATED}, "main", ["remove old", "remove next"]),
        ({"main": READY, "odd": ENDED}, "main", ["remove odd"]),
    ],
)
def test_one_stays_and_has_the_name(found: dict[str, Seen], stays: str, repairs: list[str]):
    assert told(**found) == ([f"{stays} is vllm-chat"], repairs)


def test_a_single_container_of_another_name_is_left_to_the_plan():
    assert told(odd=READY) == (["odd is 1234_vllm-chat"], [])


def test_of_what_is_not_wanted_the_name_is_what_its_leftovers_say():
    one = replace(READY, id="a", service="gone", name="vllm-gone")
    settled = settle((one, replace(ENDED, id="b", service="gone", name="vllm-gone-old")), (PROJECT,))
    assert [(r.verb, r.container.name) for r in settled.repairs] == [("remove", "vllm-gone-old")]


def test_replicas_of_one_service_are_no_leftovers_of_each_other():
    several = Project("p", "f", "/p", (Container("gateway", "gateway", "i", count=2),))
    found = [
        replace(READY, id=str(number), service="gateway", name=f"p-gateway-{number}", number=number)
        for number in (1, 2)
    ]
    assert settle(found, (several,)).repairs == ()
