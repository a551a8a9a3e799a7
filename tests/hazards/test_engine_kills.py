"""kill -9 of each process of a platform: the others go on, the killed one returns, nothing exists twice."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from infctl.engine import books, procfs, supervisor
from infctl.errors import EngineError, LockError


@pytest.fixture
def platform(toy):
    """Two services, one with a worker in a session of its own, under an acting and a waiting supervisor."""
    toy.up(toy.service("a", "--worker"), toy.service("b", after=("a",)))
    toy.until(toy.standby, "a second supervisor waits")
    return toy


def is_whole(toy) -> bool:
    """Both services ready, once each, a with its worker, and two supervisors."""
    observed = toy.engine.observe()
    return (
        observed.supervised
        and [s.state for s in observed.services] == ["ready", "ready"]
        and len(toy.alive("a")) == 2
        and len(toy.leaders("b")) == 1
        and len(toy.alive(procfs.SUPERVISOR)) == 2
    )


def test_a_killed_service_returns_and_the_others_go_on(platform):
    a, b, watchers = platform.pid("a"), platform.pid("b"), platform.alive(procfs.SUPERVISOR)
    orphans = set(platform.alive("a"))
    platform.kill(a)
    platform.until(lambda: platform.pid_or_none("a") not in (None, a) and is_whole(platform), "a is back")
    assert not orphans & set(platform.alive("a")), "its worker was not left behind"
    assert platform.pid("b") == b
    assert platform.alive(procfs.SUPERVISOR) == watchers
    assert platform.seen("a").restarts == 1
    assert platform.seen("a").last_exit == "killed by SIGKILL"


def test_a_killed_worker_brings_its_service_down_and_back(platform):
    a, b = platform.pid("a"), platform.pid("b")
    (worker,) = set(platform.alive("a")) - {a}
    platform.kill(worker)
    platform.until(lambda: platform.pid_or_none("a") not in (None, a) and is_whole(platform), "a is back")
    assert platform.pid("b") == b


def test_a_killed_supervisor_is_replaced_and_no_service_notices(platform):
    a, b, acting, waiting = platform.pid("a"), platform.pid("b"), platform.supervisor(), platform.standby()
    platform.kill(acting)
    platform.until(lambda: platform.supervisor() == waiting and is_whole(platform), "the other took over")
    assert (platform.pid("a"), platform.pid("b")) == (a, b)
    # And it really watches what it did not start.
    platform.kill(b)
    platform.until(lambda: platform.pid_or_none("b") not in (None, b) and is_whole(platform), "b is back")
    assert platform.pid("a") == a


def test_a_killed_waiting_supervisor_is_replaced(platform):
    acting, waiting = platform.supervisor(), platform.standby()
    platform.kill(waiting)
    platform.until(lambda: platform.standby() not in (0, waiting), "another one waits")
    assert platform.supervisor() == acting


def test_both_supervisors_killed_at_once_leave_the_services_and_up_watches_them_again(platform):
    a, b = platform.pid("a"), platform.pid("b")
    platform.kill_supervisors()
    assert not platform.engine.observe().supervised
    assert platform.ask("a") == platform.ask("b") == "ok"
    stack = platform.engine.running()
    assert [a.kind for a in platform.engine.plan(stack, {})] == ["supervise"]
    list(platform.engine.apply(stack, {}))
    platform.until(lambda: is_whole(platform), "all is well again")
    assert (platform.pid("a"), platform.pid("b")) == (a, b)


def test_a_service_that_died_while_nobody_watched_is_started_and_its_orphans_are_not_kept(platform):
    a, b = platform.pid("a"), platform.pid("b")
    orphans = set(platform.alive("a"))
    platform.kill_supervisors()
    platform.kill(a)
    list(platform.engine.apply(platform.engine.running(), {}))
    platform.until(lambda: is_whole(platform), "all is well again")
    assert not orphans & set(platform.alive("a"))
    assert platform.pid("b") == b


def test_down_works_without_a_living_supervisor(platform):
    platform.kill_supervisors()
    list(platform.engine.down())
    assert platform.alive() == []
    assert list(platform.layout.state.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": "x"}', b"\xff\x00"])
def test_a_damaged_record_of_what_runs_loses_nothing(platform, content):
    a, b = platform.pid("a"), platform.pid("b")
    (platform.layout.state / books.OBSERVED).write_bytes(content)
    platform.kill_supervisors()
    events = list(platform.engine.apply(platform.engine.running(), {}))
    assert any("damaged" in e.text for e in events)
    platform.until(lambda: is_whole(platform), "all is well again")
    assert (platform.pid("a"), platform.pid("b")) == (a, b)


def test_a_damaged_wish_stops_nothing_and_up_writes_it_anew(platform):
    a, b = platform.pid("a"), platform.pid("b")
    stack = platform.engine.running()
    (platform.layout.state / books.DESIRED).write_bytes(b"{")
    platform.kill(platform.supervisor())
    platform.until(lambda: platform.engine.observe().supervised, "the other took over")
    list(platform.engine.apply(stack, {}))
    platform.until(lambda: is_whole(platform), "all is well again")
    assert (platform.pid("a"), platform.pid("b")) == (a, b)


def test_books_of_a_newer_version_are_refused_with_the_version_that_wrote_them(toy):
    toy.layout.state.mkdir(parents=True)
    (toy.layout.state / books.DESIRED).write_text(json.dumps({"version": 99, "writer": "7.1.0"}))
    with pytest.raises(EngineError, match=r"written by infctl 7\.1\.0") as caught:
        toy.up(toy.service("a"))
    assert caught.value.hint == "use infctl 7.1.0 or newer"


def test_records_from_before_a_reboot_are_recognised(platform):
    path = platform.layout.state / books.OBSERVED
    a = platform.pid("a")
    platform.kill_supervisors()
    book = json.loads(path.read_bytes())
    path.write_text(json.dumps({**book, "boot_id": "an-earlier-one"}))
    observed = platform.engine.observe()
    assert "the machine was restarted since the services ran" in observed.notes
    assert [s.state for s in observed.services] == ["stopped", "stopped"]
    platform.wipe()
    list(platform.engine.apply(platform.engine.running(), {}))
    platform.until(lambda: is_whole(platform), "all is well again")
    assert platform.pid("a") != a


def test_a_stranger_with_a_reused_process_id_is_left_alone(platform):
    path = platform.layout.state / books.OBSERVED
    platform.wipe()
    platform.until(lambda: not platform.alive(), "all are dead")
    book = json.loads(path.read_bytes())
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        for record in book["services"]:
            record["pid"] = stranger.pid
        path.write_text(json.dumps(book))
        assert [s.state for s in platform.engine.observe().services] == ["stopped", "stopped"]
        list(platform.engine.apply(platform.engine.running(), {}))
        platform.until(lambda: is_whole(platform), "all is well again")
        assert stranger.poll() is None
        list(platform.engine.down())
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_service_started_by_hand_a_second_time_is_replaced_not_doubled(platform):
    """As a supervisor killed between starting a service and writing it down would leave it."""
    a = platform.pid("a")
    platform.kill_supervisors()
    path = platform.layout.state / books.OBSERVED
    book = json.loads(path.read_bytes())
    book["services"] = [s for s in book["services"] if s["name"] != "a"]
    path.write_text(json.dumps(book))
    list(platform.engine.apply(platform.engine.running(), {}))
    platform.until(lambda: is_whole(platform), "all is well again")
    assert platform.leaders("a") == [a], "it was taken over by its mark"


def test_two_at_once_one_changes_and_the_other_is_told_who_does(toy):
    with toy.engine.lock("ann: infctl up"):
        toy.up(toy.service("a"))
        with pytest.raises(LockError) as caught, toy.engine.lock("bob: infctl down"):
            pass
    assert "ann: infctl up on " in caught.value.message
    assert f"(pid {os.getpid()}) since 2" in caught.value.message
    assert caught.value.exit_code == 7
    with toy.engine.lock("bob: infctl down"):
        pass


def test_a_killed_holder_frees_the_lock(toy):
    code = (
        "import sys, signal; from pathlib import Path; from infctl.stack import Layout\n"
        "from infctl.engine.process import ProcessEngine\n"
        "with ProcessEngine(Layout(Path(sys.argv[1]), Path(sys.argv[2]))).lock('x'):\n"
        "    print('held', flush=True); signal.pause()"
    )
    arguments = [sys.executable, "-c", code, str(toy.layout.base), str(toy.layout.home)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockError, match=f"pid {holder.pid}"), toy.engine.lock("y"):
            pass
        holder.kill()
        holder.wait()
    with toy.engine.lock("y"):
        pass
    assert not (toy.layout.state / "lock").exists()


def test_two_unlocked_ups_at_once_still_make_one_copy(toy):
    """The lock is the caller's; even without it there is one supervisor and one of each service."""
    services = toy.service("a", "--load-s", "0.3"), toy.service("b")
    other = type(toy.engine)(toy.layout)

    def up(engine):
        # The earlier wish may find itself overtaken, which is an answer too.
        with contextlib.suppress(EngineError):
            list(engine.apply(toy.stack(*services), {}))

    threads = [threading.Thread(target=up, args=(e,)) for e in (toy.engine, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(toy.leaders("a")) == len(toy.leaders("b")) == 1
    toy.until(lambda: len(toy.alive(procfs.SUPERVISOR)) == 2, "two supervisors, no more")
    assert [s.state for s in toy.engine.observe().services] == ["ready", "ready"]


def test_an_interrupted_up_can_be_taken_back(toy):
    events = toy.engine.apply(toy.stack(toy.service("a", "--load-s", "30")), {})
    assert next(events).kind == "started"
    events.close()
    list(toy.engine.revert())
    assert toy.alive() == []


def test_an_up_killed_in_the_middle_is_finished_by_the_next(toy):
    services = toy.service("a", "--load-s", "0.5"), toy.service("b", "--load-s", "0.5")
    events = toy.engine.apply(toy.stack(*services), {})
    next(events)
    events.close()
    toy.up(*services)
    assert len(toy.leaders("a")) == len(toy.leaders("b")) == 1
    assert toy.seen("a").restarts == 0


def test_a_deleted_state_folder_never_ends_in_two_copies(platform):
    stack = platform.engine.running()
    shutil.rmtree(platform.layout.state)
    list(platform.engine.apply(stack, {}))
    platform.until(lambda: is_whole(platform), "all is well again")
    assert len(platform.leaders("a")) == len(platform.leaders("b")) == 1
    list(platform.engine.down())
    assert platform.alive() == []


def test_a_service_that_hides_its_environment_is_known_by_its_command_line(toy, tmp_path):
    """As nginx does: it overwrites its environment with its title."""
    process = subprocess.Popen(["sleep", "3210", "0"], start_new_session=True)
    try:
        leader = procfs.identify(process.pid)
        assert leader is not None
        argv = ("sleep", "3210", "0")
        assert procfs.members(toy.home, "x", None, argv) == [], "an argv without the home's name fits anyone"
        assert [p.pid for p in procfs.members(toy.home, "x", leader)] == [process.pid]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_supervisor_of_another_version_is_replaced_and_its_services_are_kept(platform, monkeypatch):
    a, b, old = platform.pid("a"), platform.pid("b"), platform.alive(procfs.SUPERVISOR)
    monkeypatch.setattr("infctl.engine.process.__version__", "0.0.1")
    list(platform.engine.apply(platform.engine.running(), {}))
    platform.until(lambda: is_whole(platform), "all is well again")
    assert not set(old) & set(platform.alive(procfs.SUPERVISOR))
    assert (platform.pid("a"), platform.pid("b")) == (a, b)


def test_a_supervisor_killed_while_it_leaves_keeps_nobody_watching_nothing(toy):
    """The wish is removed first: whoever takes over then finds neither a service nor a wish."""
    toy.up()
    toy.kill_supervisors()
    (toy.layout.state / books.DESIRED).unlink()
    supervisor.spawn(toy.home, sys.executable)
    toy.until(lambda: not toy.alive(), "it left")
    list(toy.engine.down())
    assert list(toy.layout.state.iterdir()) == []


def test_a_book_that_cannot_be_removed_keeps_no_supervisor(toy):
    toy.up(toy.service("a"))
    path = toy.layout.state / books.SECRETS
    path.unlink()
    path.mkdir()
    with pytest.raises(EngineError, match=r"secrets\.json cannot be removed") as caught:
        list(toy.engine.down())
    assert str(toy.layout.state) in caught.value.hint
    assert toy.alive() == []


def test_a_wish_of_a_newer_version_is_noted_and_what_runs_is_watched_on(platform):
    a, b, watchers = platform.pid("a"), platform.pid("b"), platform.alive(procfs.SUPERVISOR)
    (platform.layout.state / books.DESIRED).write_text(json.dumps({"version": 99, "writer": "7.1.0"}))
    platform.until(
        lambda: any("written by infctl 7.1.0" in n for n in platform.engine.observe().notes), "it was noted"
    )
    platform.kill(b)
    platform.until(lambda: platform.pid_or_none("b") not in (None, b) and is_whole(platform), "b is back")
    assert platform.alive(procfs.SUPERVISOR) == watchers
    assert platform.pid("a") == a


def test_a_supervisor_older_than_the_record_says_so_in_a_line_and_touches_nothing(platform):
    a, b = platform.pid("a"), platform.pid("b")
    platform.kill_supervisors()
    path = platform.layout.state / books.OBSERVED
    path.write_text(json.dumps({"version": 99, "writer": "7.1.0"}))
    supervisor.spawn(platform.home, sys.executable)
    platform.until(lambda: "written by infctl 7.1.0" in platform.log("supervisor"), "it said so")
    platform.until(lambda: not platform.alive(procfs.SUPERVISOR), "it left")
    assert "Traceback" not in platform.log("supervisor")
    assert platform.leaders("a") == [a]
    assert platform.leaders("b") == [b]


def test_a_record_damaged_under_a_living_supervisor_is_written_anew(platform):
    a, b = platform.pid("a"), platform.pid("b")
    for content in (b"{", b'{"version": 1}'):
        (platform.layout.state / books.OBSERVED).write_bytes(content)
        platform.until(lambda: is_whole(platform), "it says again what runs")
    (platform.layout.state / books.OBSERVED).unlink()
    platform.until(lambda: is_whole(platform), "it says again what runs")
    assert (platform.pid("a"), platform.pid("b")) == (a, b)


def test_up_sees_that_the_wish_was_lost_and_writes_it_anew(platform):
    a = platform.pid("a")
    stack = platform.engine.running()
    (platform.layout.state / books.DESIRED).write_bytes(b'{"version": 1}')
    assert [action.kind for action in platform.engine.plan(stack, {})] == ["supervise"]
    list(platform.engine.apply(stack, {}))
    assert platform.engine.plan(stack, {}) == ()
    assert platform.engine.running() == stack
    assert platform.pid("a") == a


@contextlib.contextmanager
def disk_full():
    """A file can be made, and not a byte put into it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_down_ends_everything_where_nothing_can_be_written(platform):
    with disk_full(), pytest.raises(EngineError, match=r"desired\.json cannot be written: File too large"):
        list(platform.engine.restart(["a"]))
    with disk_full():
        events = list(platform.engine.down())
    assert {e.service for e in events if e.kind == "stopped"} == {"a", "b"}
    assert platform.alive() == []
    assert list(platform.layout.state.iterdir()) == []


def test_down_leaves_no_secret_in_a_damaged_book_either(platform):
    (platform.layout.state / books.SECRETS).write_bytes(b'{"values": {"KEY": "abc"')
    stack = platform.engine.running()
    list(platform.engine.apply(stack, {}))
    assert (platform.layout.state / f"{books.SECRETS}.corrupt").exists()
    list(platform.engine.down())
    assert list(platform.layout.state.iterdir()) == []
