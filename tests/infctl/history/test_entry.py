"""Entries of the history: there and back through JSON, and what a rollback goes back to."""

from __future__ import annotations

import json
from dataclasses import replace

from infctl.engine.model import Action
from infctl.history import entry as entries
from infctl.history.applied import Applied, KeptFile, Planned, Reach, SecretPlace
from infctl.history.entry import Entry
from infctl.stack import Service, Stack
from infctl.stack.containers import Container, Project

REACH = Reach("http://127.0.0.1:8000", "GATEWAY_API_KEY", "https://localhost:443", "/x/certificate.pem")


def stack(length: int = 1024) -> Stack:
    chat = Service("chat", "engine", ("vllm", "--max-model-len", str(length)), listen=(("127.0.0.1", 8101),))
    container = Container("chat", "engine", "vllm:1", command=("--max-model-len", str(length)))
    project = Project("toy", "docker-compose.yml", "/srv/toy", (container,))
    return Stack("toy", "docker", (chat,), projects=(project,))


def applied(length: int = 1024) -> Applied:
    return Applied(
        stack(length),
        REACH,
        files=(KeptFile("nginx/nginx.conf", 0o644, "ab" * 32),),
        secrets=(SecretPlace("GATEWAY_API_KEY", "GATEWAY_API_KEY"), SecretPlace("HF", "HF", "/run/hf")),
        planned=(Planned("chat", 2**34, 80_400),),
    )


def entry(number: int, length: int = 1024, **more: object) -> Entry:
    base = Entry(number, 100.0 + number, "ann@box", "up", "done", applied=applied(length))
    return replace(base, **more)  # type: ignore[arg-type]


def test_an_entry_comes_back_from_json_as_it_was() -> None:
    one = entry(3, actions=(Action("replace", "chat", "a flag", "KV tokens 1 -> 2", 41.0),), seconds=1.5)
    assert entries.from_json(json.loads(json.dumps(entries.to_json(one, writer="1.0")))) == one
    bare = Entry(4, 1.0, "ann@box", "down")
    assert entries.from_json(json.loads(json.dumps(entries.to_json(bare, writer="1.0")))) == bare


def test_the_entry_of_what_runs_is_the_newest_that_made_it() -> None:
    newest_first = [entry(4, 512, outcome="failed"), entry(3, 512), entry(2), entry(1, 512)]
    found = entries.of_running(newest_first, stack(512))
    assert found is not None
    assert found.number == 3
    assert entries.of_running(newest_first, stack(77)) is None
    assert entries.of_running(newest_first, None) is None


def test_a_rollback_goes_to_the_newest_applied_stack_that_does_not_run() -> None:
    newest_first = [
        Entry(6, 1.0, "ann@box", "restart", "done"),
        entry(5, 4096, outcome="failed"),
        entry(4, 2048),
        entry(3, 2048),
        entry(2, 1024),
        entry(1, 512),
    ]
    found = entries.before(newest_first, stack(2048))
    assert found is not None
    assert found.number == 2


def test_where_nothing_runs_the_last_applied_one_is_what_a_rollback_goes_back_from() -> None:
    newest_first = [Entry(3, 1.0, "ann@box", "down", "done"), entry(2, 2048), entry(1, 1024)]
    found = entries.before(newest_first, None)
    assert found is not None
    assert found.number == 1


def test_there_is_nothing_to_go_back_to_where_only_one_stack_was_ever_applied() -> None:
    assert entries.before([entry(2), entry(1)], stack()) is None
    assert entries.before([], None) is None
