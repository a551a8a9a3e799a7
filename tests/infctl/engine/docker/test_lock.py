"""One at a time: the lock is where the services run, and says whose it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from infctl.engine.docker import lock
from infctl.errors import LockError
from tests.docker.host import until
from tests.infctl.engine.docker.conftest import Toy

HOLD = """
    import sys
    from pathlib import Path
    from infctl.engine.docker import client, lock
    with lock.hold(client.connect(dict()), sys.argv[1], "bob: infctl up", print):
        print("held", flush=True)
        sys.stdin.read()
"""


def holding(toy: Toy) -> subprocess.Popen[str]:
    """Another process that has the lock until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), toy.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait(20)


def test_the_second_is_told_who_holds_it_and_since_when(toy: Toy):
    process = holding(toy)
    try:
        with pytest.raises(LockError, match="bob: infctl up") as caught, toy.engine.lock("ann"):
            pytest.fail("it is held")
        assert f"pid {process.pid}" in caught.value.message
        assert "s ago)" in caught.value.message
        holder = toy.engine.lock_holder()
        assert holder is not None
        assert (holder.owner, holder.pid) == ("bob: infctl up", process.pid)
    finally:
        end(process)
    with toy.engine.lock("ann"):
        pass
    assert toy.engine.lock_holder() is None


def test_two_engines_of_one_folder_exclude_each_other_too(toy: Toy):
    with (
        toy.engine.lock("ann"),
        pytest.raises(LockError, match="ann"),
        toy.another().lock("bob"),
    ):
        pytest.fail("it is held")


def test_a_killed_holders_lock_is_taken_over_with_a_word(toy: Toy):
    process = holding(toy)
    process.kill()
    end(process)
    assert toy.engine.lock_holder() is not None
    with toy.engine.lock("ann"):
        (event,) = toy.engine._told_notes()
        assert "bob: infctl up" in event.text
        assert "taken over" in event.text


def test_sigterm_lets_it_go(toy: Toy):
    process = holding(toy)
    process.send_signal(signal.SIGTERM)
    end(process)
    until(lambda: toy.engine.lock_holder() is None, 10, "the lock is free")


def test_another_machines_lock_is_never_taken_over(toy: Toy, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lock.socket, "gethostname", lambda: "elsewhere")
        kept = lock._take(toy.engine.client, toy.name, "bob", print)
    try:
        with pytest.raises(LockError, match="bob on elsewhere") as caught, toy.engine.lock("ann"):
            pytest.fail("it is held")
        assert "infctl unlock" in caught.value.hint
        taken = toy.engine.unlock()
        assert taken is not None
        assert taken.owner == "bob"
        with toy.engine.lock("ann"):
            pass
    finally:
        lock.release(toy.engine.client, kept)


def test_a_pid_that_is_used_again_is_not_its_holder():
    own = lock._about("ann")
    held = lock._holder("id", own)
    assert held.pid == os.getpid()
    assert not held.is_gone
    assert lock._holder("id", {**own, f"{lock.LABEL}.ticks": "1"}).is_gone
    assert lock._holder("id", {**own, f"{lock.LABEL}.boot": "another"}).is_gone
