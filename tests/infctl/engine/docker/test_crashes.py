"""Interrupted at any moment, the next run goes on from there, and what served serves again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from infctl.engine.docker.engine import DockerEngine
from infctl.errors import EngineError
from infctl.stack.containers import Container
from tests.docker.host import until
from tests.examples import examples
from tests.infctl.engine.docker.conftest import READY, Toy, failing, needs

APPLY = """
import json, sys
from pathlib import Path
from infctl.engine.docker.engine import DockerEngine
from infctl.engine import codec
from infctl.stack import Layout
base, name, file = sys.argv[1:]
engine = DockerEngine(Layout(Path(base), Path(base) / ".infctl" / name, beside=True))
stack = codec.stack_from_json(json.loads(Path(file).read_text()))
with engine.lock("test"):
    print("applying", flush=True)
    for event in engine.apply(stack, {}):
        print(event.service, event.kind, flush=True)
print("done", flush=True)
"""


def applying(toy: Toy, *containers: Container) -> subprocess.Popen[str]:
    """In a process of its own, so that it can be killed."""
    import json

    from infctl.engine import codec

    stack = toy.write(toy.stack(*containers))
    file = toy.folder / "stack.json"
    file.write_text(json.dumps(codec.stack_to_json(stack)))
    return subprocess.Popen(
        [sys.executable, "-c", APPLY, str(toy.folder), toy.name, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def platform(toy: Toy, flag: str) -> tuple[Container, ...]:
    chat0 = toy.container("chat0", "--flag", flag)
    return (
        toy.one_shot("prepare", "echo prepared"),
        replace(chat0, needs=needs("prepare", "service_completed_successfully")),
        toy.container("chat1", "--flag", flag, needs=needs("chat0")),
        toy.container("gateway", "--flag", flag, role="gateway"),
    )


@pytest.mark.parametrize("seed", range(examples(4)))
def test_killed_at_any_moment_the_next_run_converges(toy: Toy, seed: int):
    chance = random.Random(seed)
    toy.up(*platform(toy, "0"))
    for turn in ("1", "2"):
        process = applying(toy, *platform(toy, turn))
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 4.0))
        process.kill()
        process.communicate(timeout=20)
    last = platform(toy, "2")
    engine = toy.another()
    with engine.lock("test"):
        list(engine.apply(toy.write(toy.stack(*last)), {}))
    assert toy.plan(*last) == ""
    found = engine._containers()
    assert sorted(one.service for one in found) == ["chat0", "chat1", "gateway", "prepare"]
    assert all(one.is_ready for one in found if one.service != "prepare")
    assert not [name for name in toy.ids() if name.endswith(("-old", "-next"))]
    engine.client.close()


def test_killed_between_two_steps_of_a_replace_the_old_one_comes_back(toy: Toy):
    toy.up(toy.container("chat", "--flag", "0"))
    name, old = f"{toy.name}-chat-c", toy.seen("chat").id
    toy.docker("stop", name)
    toy.docker("rename", name, f"{name}-old")
    toy.up(toy.container("chat", "--flag", "0"))
    assert toy.ids() == {name: old}
    assert toy.seen("chat").is_ready


def test_a_new_one_that_never_got_ready_makes_way_for_the_old_one(toy: Toy):
    wanted = toy.container("chat", "--flag", "0")
    toy.up(wanted)
    name, old = f"{toy.name}-chat-c", toy.seen("chat").id
    toy.docker("stop", name)
    toy.docker("rename", name, f"{name}-old")
    bad = toy.container("chat", **failing("no"))
    toy.engine._hands({}).create(toy.stack(bad).projects[0], bad)
    told = toy.plan(wanted)
    assert f"{name} was left by an interrupted replace" in told
    toy.up(wanted)
    assert toy.ids() == {name: old}
    assert toy.plan(wanted) == ""


def test_a_new_one_that_works_stays_and_the_old_one_goes(toy: Toy):
    wanted = toy.container("chat", "--flag", "0")
    toy.up(wanted)
    name, new = f"{toy.name}-chat-c", toy.seen("chat").id
    toy.engine._hands({}).create(toy.stack(wanted).projects[0], wanted, name=f"{name}-old")
    assert toy.plan(wanted) == f"- chat  remove     {name}-old was left by an interrupted replace of {name}"
    toy.up(wanted)
    assert toy.ids() == {name: new}


def test_the_next_one_takes_the_name_of_one_that_is_gone(toy: Toy):
    wanted = toy.container("chat", "--flag", "0")
    toy.up(wanted)
    name = f"{toy.name}-chat-c"
    toy.docker("rename", name, f"{name}-next")
    assert "it is" in toy.plan(wanted)
    toy.up(wanted)
    assert list(toy.ids()) == [name]
    assert toy.plan(wanted) == ""


def test_a_failing_replacement_leaves_the_old_one_running(toy: Toy):
    toy.up(toy.container("chat", "--flag", "0"))
    old = toy.seen("chat").id
    with pytest.raises(EngineError, match="chat did not start") as caught:
        toy.up(toy.container("chat", **failing("no weights here")))
    assert "no weights here" in caught.value.log
    assert toy.seen("chat").id == old
    assert until(lambda: toy.seen("chat").is_ready, 20, "the old one is ready again")


def test_revert_goes_back_to_what_ran_before(toy: Toy):
    before = (toy.container("chat", "--flag", "0"), toy.container("embed"))
    toy.up(*before)
    wanted = (toy.container("chat", "--flag", "1"), toy.container("embed", **failing("no")))
    with pytest.raises(EngineError, match="embed did not start"):
        toy.up(*wanted)
    toy.write(toy.stack(*before))
    list(toy.engine.revert())
    assert toy.engine.previous() == toy.stack(*before)
    assert toy.plan(*before) == ""
    assert toy.engine.running() == toy.stack(*before)


def test_revert_of_a_first_up_leaves_nothing(toy: Toy):
    with pytest.raises(EngineError, match="embed did not start"):
        toy.up(toy.container("chat"), toy.container("embed", **failing("no")))
    list(toy.engine.revert())
    assert toy.left() == []
    assert toy.engine.running() is None


def test_an_interrupted_first_up_goes_on_and_nothing_is_made_twice(toy: Toy):
    engine: DockerEngine = toy.engine
    events = engine.apply(toy.write(toy.stack(toy.container("chat"), toy.container("embed"))), {})
    first = next(event for event in events if event.kind == "started")
    events.close()
    kept = toy.ids()
    assert first.service == "chat"
    toy.up(toy.container("chat"), toy.container("embed"))
    assert kept.items() <= toy.ids().items()


def test_what_an_interrupted_run_wanted_is_not_what_ran_before(toy: Toy):
    before = toy.container("chat", "--flag", "0")
    toy.up(before)
    events = toy.engine.apply(toy.write(toy.stack(toy.container("chat", "--flag", "1"))), {})
    next(events)
    events.close()
    again = toy.another()
    with pytest.raises(EngineError):
        list(again.apply(toy.write(toy.stack(toy.container("chat", **failing("no")))), {}))
    assert again.previous() == toy.stack(before)
    again.client.close()


def test_ctrl_c_in_a_replace_brings_the_old_one_back(toy: Toy):
    toy.up(toy.container("chat", "--flag", "0"))
    old = toy.seen("chat").id
    slow = replace(toy.container("chat", "--flag", "1"), command=("sleep 60",))
    process = applying(toy, slow)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert next(line for line in lines if line == "chat started\n")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert toy.seen("chat").id == old
    assert toy.engine.lock_holder() is None


def test_of_two_at_once_one_is_told_who_is_at_it_and_neither_breaks(toy: Toy):
    slow = replace(
        toy.container("chat"),
        command=("sleep 2; touch /tmp/ready; sleep 600",),
        healthcheck=replace(READY, start_period_s=30.0),
    )
    first = applying(toy, slow)
    assert first.stdout is not None
    assert first.stdout.readline() == "applying\n"
    second = applying(toy, slow)
    _, said = second.communicate(timeout=30)
    assert "LockError" in said
    assert f"(pid {first.pid})" in said
    out, _ = first.communicate(timeout=60)
    assert out.endswith("done\n")
    assert toy.plan(slow) == ""
