"""May an engine be taken away now? And what the gateway's answer is read as."""

from __future__ import annotations

import json

import pytest

from infctl.engine.docker import rollout_drain as drains
from infctl.engine.docker.rollout_drain import DOWN_S, Backend, Said

START_S = 600.0


def said(**states: str) -> Said:
    """Backends of one model, by their names."""
    return Said(tuple(Backend(f"vllm-{n}", "chat", f"vllm-{n}", state) for n, state in states.items()), 30.0)


def verdict(one: Said, host: str = "vllm-a", waited_s: float = 0.0) -> str:
    return drains.may_go([one], host, waited_s, START_S).kind


@pytest.mark.parametrize(
    ("states", "kind"),
    [
        ({"a": "ready", "b": "ready"}, "go"),
        ({"a": "ready"}, "go"),
        ({"a": "ready", "b": "loading"}, "wait"),
        ({"a": "ready", "b": "down"}, "wait"),
        ({"a": "ready", "b": "drained"}, "refuse"),
        ({"a": "ready", "b": "drained", "c": "loading"}, "wait"),
        ({"a": "ready", "b": "down", "c": "ready"}, "go"),
        ({"a": "down", "b": "down"}, "go"),
        ({"a": "loading", "b": "down"}, "go"),
        ({"a": "drained", "b": "down"}, "go"),
        ({"b": "ready"}, "go"),
    ],
)
def test_the_last_one_that_answers_stays(states, kind):
    assert verdict(said(**states)) == kind


def test_one_that_loads_is_waited_for_as_long_as_a_start_takes_and_one_that_is_down_for_a_moment():
    down, loading = said(a="ready", b="down"), said(a="ready", b="loading")
    assert verdict(down, waited_s=DOWN_S - 1) == "wait"
    assert verdict(down, waited_s=DOWN_S + 1) == "refuse"
    assert verdict(loading, waited_s=DOWN_S + 1) == "wait"
    assert verdict(loading, waited_s=START_S + 1) == "refuse"


def test_a_refusal_names_who_is_in_the_way_and_why():
    one = Said((Backend("a", "chat", "a", "ready"), Backend("b", "chat", "b", "down", 0, "refused")))
    found = drains.may_go([one], "a", DOWN_S + 1, START_S)
    assert found.why == "a is the last of chat that answers: b is down (refused)"


def test_another_models_backend_is_no_help():
    one = Said((Backend("a", "chat", "a", "ready"), Backend("b", "chat", "b", "down")))
    other = Backend("e", "embed", "e", "ready")
    assert drains.may_go([Said((*one.backends, other))], "a", 0.0, START_S).kind == "wait"


def test_of_several_gateways_each_has_to_agree():
    good, bad = said(a="ready", b="ready"), said(a="ready", b="drained")
    assert drains.may_go([good, good], "vllm-a", 0.0, START_S).kind == "go"
    assert drains.may_go([good, bad], "vllm-a", 0.0, START_S).kind == "refuse"
    assert drains.may_go([], "vllm-a", 0.0, START_S).kind == "go"


def test_the_last_line_is_the_answer():
    backend = {"id": "a", "model": "chat", "url": "http://vllm-a:8000", "state": "draining", "in_flight": 2}
    answer = {"backends": [backend | {"why": "drained"}], "drain_s": 30.0, "stopping": False}
    found = drains.read("a warning\n" + json.dumps(answer) + "\n")
    assert found == Said((Backend("a", "chat", "vllm-a", "draining", 2, "drained"),), 30.0)
    assert (found.in_flight, found.drained, found.ready) == (2, {"a"}, frozenset())


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"backends": [{}]}', '{"backends": []}', "3"])
def test_anything_else_is_no_answer(text):
    with pytest.raises(ValueError):
        drains.read(text)
