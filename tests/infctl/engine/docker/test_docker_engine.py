"""A platform in containers, on a real engine."""

from __future__ import annotations

import time

import pytest

from infctl.engine.model import Event
from infctl.errors import EngineError
from tests.docker.host import until
from tests.infctl.engine.docker.conftest import Toy, failing, needs


def kinds(events: list[Event], service: str) -> list[str]:
    return [event.kind for event in events if event.service == service and event.kind != "loading"]


def test_up_from_nothing_makes_everything_and_waits_for_it(toy: Toy):
    events = toy.up(toy.container("chat"), toy.container("gateway", role="gateway", needs=needs("chat")))
    assert kinds(events, "chat") == ["started", "ready"]
    assert [e.service for e in events if e.kind in ("started", "ready")] == [
        "chat",
        "chat",
        "gateway",
        "gateway",
    ]
    assert toy.seen("chat").health == "healthy"


def test_up_again_does_nothing_and_takes_less_than_a_second(toy: Toy):
    toy.up(toy.container("chat"))
    before = toy.ids()
    took = []
    while not took or (took[-1] >= 1.0 and len(took) < 5):  # others may keep the cores busy
        begun = time.monotonic()
        assert toy.another().plan(toy.stack(toy.container("chat")), {}) == ()
        took.append(time.monotonic() - begun)
    assert took[-1] < 1.0, took
    assert toy.up(toy.container("chat")) == []
    assert toy.ids() == before


def test_one_changed_flag_replaces_its_container_alone(toy: Toy):
    other = toy.container("embed")
    toy.up(toy.container("chat", "--max-model-len", "8192"), other)
    before = toy.ids()
    changed = toy.container("chat", "--max-model-len", "16384")
    assert toy.plan(changed, other) == "~ chat  replace    --max-model-len 8192 -> 16384"
    toy.up(changed, other)
    after = toy.ids()
    assert after[other.name] == before[other.name]
    assert after[changed.name] != before[changed.name]
    assert toy.plan(changed, other) == ""


def test_a_container_that_does_not_start_fails_with_its_own_words(toy: Toy):
    with pytest.raises(EngineError, match="chat did not start") as caught:
        toy.up(toy.container("chat", **failing("no such model")))
    assert "no such model" in caught.value.log


def test_down_leaves_nothing(toy: Toy):
    toy.up(toy.container("chat"))
    with toy.engine.lock("test"):
        assert [e.service for e in toy.engine.down(volumes=True) if e.kind == "stopped"] == ["chat"]
    assert toy.left() == []
    until(lambda: toy.engine.running() is None, 1, "nothing is wanted")
