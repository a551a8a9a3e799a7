"""The engine with real processes: what `up`, `restart`, `logs` and `down` do to them."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from infctl.engine import books, procfs
from infctl.engine.reconcile import describe
from infctl.errors import EngineError
from infctl.stack import ConfigFile, LogLimits, Preparation, Readiness, Stack


def kinds(events, name):
    return [e.kind for e in events if e.service == name and e.kind != "loading"]


def test_up_starts_and_down_leaves_no_process_lock_or_book(toy):
    with toy.engine.lock("test"):
        events = toy.up(toy.service("a", "--worker"), toy.service("b"))
    assert kinds(events, "a") == ["started", "ready"]
    assert toy.ask("a") == toy.ask("b") == "ok"
    assert toy.engine.observe().supervised
    with toy.engine.lock("test"):
        events = list(toy.engine.down())
    assert kinds(events, "a") == ["stopped"]
    assert toy.alive() == []
    assert list(toy.layout.state.iterdir()) == []
    assert toy.engine.running() is None
    for name in "ab":
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", toy.port(name)))


def test_up_twice_changes_nothing(toy):
    services = toy.service("a"), toy.service("b")
    toy.up(*services)
    before = toy.pid("a"), toy.pid("b"), toy.supervisor()
    assert toy.engine.plan(toy.stack(*services), {}) == ()
    assert toy.up(*services) == []
    assert (toy.pid("a"), toy.pid("b"), toy.supervisor()) == before
    assert toy.seen("a").restarts == 0


def test_a_changed_flag_restarts_just_what_it_touches_and_says_why(toy):
    toy.up(toy.service("a", "--say", "one"), toy.service("b"))
    a, b = toy.pid("a"), toy.pid("b")
    changed = toy.stack(toy.service("a", "--say", "two"), toy.service("b"))
    assert describe(toy.engine.plan(changed, {})) == "~ a  replace    --say one -> two"
    events = list(toy.engine.apply(changed, {}))
    assert kinds(events, "a") == ["stopped", "started", "ready"]
    assert kinds(events, "b") == []
    assert toy.pid("a") != a
    assert toy.pid("b") == b
    assert "two" in toy.log("a")


def test_a_service_gone_from_the_profile_is_stopped(toy):
    toy.up(toy.service("a"), toy.service("b"))
    a = toy.pid("a")
    toy.up(toy.service("a"))
    assert toy.alive("b") == []
    assert toy.engine.observe().service("b") is None
    assert toy.pid("a") == a


def test_a_changed_file_reloads_without_a_restart(toy, tmp_path):
    def with_file(content):
        sha = hashlib.sha256(content).hexdigest()
        file = ConfigFile(str(tmp_path / "a.conf"), sha, "reload")
        return toy.service("a", files=(file,), reload_signal="HUP")

    toy.up(with_file(b"1"))
    pid = toy.pid("a")
    changed = with_file(b"2")
    assert describe(toy.engine.plan(toy.stack(changed), {})) == "↻ a  reload     a.conf changed"
    assert kinds(toy.up(changed), "a") == ["reloaded"]
    toy.until(lambda: "reloaded" in toy.log("a"), "the service has reloaded")
    assert toy.pid("a") == pid
    assert toy.engine.plan(toy.stack(changed), {}) == ()


def test_a_changed_secret_restarts_just_what_uses_it_and_is_written_nowhere_else(toy):
    services = (
        toy.service("a", secret_env=(("API_KEY", "BACKEND_API_KEY"),)),
        toy.service("b"),
    )
    toy.up(*services, BACKEND_API_KEY="first-value")
    assert toy.ask("a", "/?API_KEY") == "first-value"
    a, b = toy.pid("a"), toy.pid("b")
    plan = toy.engine.plan(toy.stack(*services), {"BACKEND_API_KEY": "second-value"})
    assert describe(plan) == "~ a  replace    secret BACKEND_API_KEY changed"
    toy.up(*services, BACKEND_API_KEY="second-value")
    assert toy.ask("a", "/?API_KEY") == "second-value"
    assert toy.pid("a") != a
    assert toy.pid("b") == b
    for path in toy.layout.home.rglob("*"):
        if path.is_file() and path.name != books.SECRETS:
            assert b"-value" not in path.read_bytes(), path
    secrets = toy.layout.state / books.SECRETS
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert toy.layout.state.stat().st_mode & 0o777 == 0o700


def test_a_restart_knows_the_secret_again(toy):
    toy.up(toy.service("a", secret_env=(("API_KEY", "K"),)), K="value")
    old = toy.pid("a")
    toy.kill(old)
    toy.until(lambda: toy.seen("a").pid not in (None, old) and toy.seen("a").state == "ready", "a is back")
    assert toy.ask("a", "/?API_KEY") == "value"


def test_a_secret_without_a_value_is_named_before_anything_is_touched(toy):
    service = toy.service("a", secret_env=(("API_KEY", "BACKEND_API_KEY"),))
    with pytest.raises(EngineError, match="a needs the secret BACKEND_API_KEY") as caught:
        toy.up(service)
    assert "BACKEND_API_KEY" in caught.value.hint
    assert toy.alive() == []


def test_services_get_a_clean_environment(toy, monkeypatch):
    monkeypatch.setenv("SOMEBODYS_SECRET", "x")
    toy.up(toy.service("a", env=(("MINE", "1"),), gpu="3"))
    assert toy.ask("a", "/?SOMEBODYS_SECRET") == ""
    assert toy.ask("a", "/?PYTHONPATH") == ""
    assert toy.ask("a", "/?MINE") == "1"
    assert toy.ask("a", "/?CUDA_VISIBLE_DEVICES") == "3"
    assert toy.ask("a", "/?PATH") == os.environ["PATH"]


def test_restart_restarts_what_is_named_and_nothing_else(toy):
    toy.up(toy.service("a"), toy.service("b"))
    a, b = toy.pid("a"), toy.pid("b")
    assert kinds(list(toy.engine.restart(["a"])), "a") == ["stopped", "started", "ready"]
    assert toy.pid("a") != a
    assert toy.pid("b") == b
    assert toy.up(toy.service("a"), toy.service("b")) == []
    with pytest.raises(EngineError, match="no service c") as caught:
        list(toy.engine.restart(["c"]))
    assert caught.value.hint == "there are: a, b"


def test_restart_of_nothing_says_how_to_start(toy):
    with pytest.raises(EngineError, match="nothing runs here"):
        list(toy.engine.restart())


def test_down_of_nothing_is_nothing(toy):
    assert list(toy.engine.down()) == []


def test_engines_of_a_start_group_load_one_after_the_other(toy, tmp_path):
    mark = tmp_path / "marks"
    flags = ("--load-s", "0.3", "--mark", str(mark))
    toy.up(*(toy.service(name, *flags, start_group="cpu") for name in "abc"))
    assert mark.read_text() == "begin a\nend a\nbegin b\nend b\nbegin c\nend c\n"
    for name in "abc":
        toy.kill(toy.pid(name))
    toy.until(lambda: mark.read_text().count("end") == 6, "all three are loaded again")
    words = mark.read_text().split()[12:]
    assert words[0::2] == ["begin", "end"] * 3
    assert words[1::4] == words[3::4]


def test_a_service_that_fails_shows_its_own_last_lines_and_the_likely_cause(toy):
    bad = toy.service("a", "--fail", "api_server.py: error: unrecognized arguments: --max-modle-len 1")
    began = time.monotonic()
    with pytest.raises(EngineError) as caught:
        toy.up(bad, toy.service("b"))
    assert "a did not start: it does not know the argument --max-modle-len 1" in caught.value.message
    assert "extra_args" in caught.value.hint
    assert caught.value.log[-1].endswith("--max-modle-len 1")
    assert time.monotonic() - began < 15, "a lasting cause is not tried again"
    list(toy.engine.revert())
    assert toy.alive() == []


def test_a_service_that_keeps_crashing_is_given_up(toy):
    with pytest.raises(EngineError, match=r"a did not start: exit code 1"):
        toy.up(toy.service("a", "--fail", "something unheard of"))
    assert toy.seen("a").state == "failed"
    assert toy.log("a").count("unheard") == 3
    events = toy.up(toy.service("a"))
    assert kinds(events, "a") == ["started", "ready"]


def test_a_program_that_is_not_there_is_named(toy):
    with pytest.raises(EngineError, match=r"a did not start.*No such file"):
        toy.up(toy.service("a", argv=("/nowhere/program",)))


def test_a_start_that_takes_too_long_is_ended_and_told(toy):
    slow = toy.service("a", "--load-s", "60", ready=Readiness(f"http://127.0.0.1:{toy.port('a')}/", 0.5))
    with pytest.raises(EngineError, match=r"not ready after 0\.5 s"):
        toy.up(slow)
    assert toy.alive("a") == []


def test_a_failed_change_goes_back_to_what_ran_before(toy):
    good = toy.service("a", "--say", "good")
    toy.up(good, toy.service("b"))
    b = toy.pid("b")
    with pytest.raises(EngineError):
        toy.up(toy.service("a", "--fail", "No module named 'vllm'"), toy.service("b"))
    before = toy.engine.previous()
    assert before == toy.stack(good, toy.service("b"))
    list(toy.engine.revert())
    assert toy.engine.running() == before
    assert toy.ask("a") == "ok"
    assert toy.pid("b") == b


def test_a_service_deaf_to_sigterm_is_killed_with_its_worker_after_its_limit(toy):
    toy.up(toy.service("a", "--deaf", "--worker", stop_timeout_s=0.3))
    assert len(toy.alive("a")) == 2
    events = list(toy.engine.down())
    assert any("did not stop in time" in e.text for e in events)
    assert toy.alive() == []


def test_a_service_has_stopped_when_the_last_of_its_processes_has(toy, tmp_path):
    """As vLLM's server ends a second before its worker, which still holds the GPU's memory."""
    told = tmp_path / "told"
    flags = ("--worker", "--lag-s", "0.5", "--mark", str(told))
    toy.up(toy.service("a", *flags))
    toy.up(toy.service("a", *flags, "--say", "again"))
    assert told.read_text().split()[::2] == ["begin", "end", "gone", "begin", "end"]
    list(toy.engine.down())
    assert told.read_text().split()[-2:] == ["gone", "a"], (
        "it ended by itself, and before the platform was down"
    )
    assert toy.alive() == []


def test_a_worker_that_outlives_its_service_is_killed_at_its_limit(toy):
    toy.up(toy.service("a", "--worker", "--lag-s", "60", stop_timeout_s=0.5))
    events = list(toy.engine.down())
    assert any("did not stop in time" in e.text for e in events)
    assert toy.alive() == []


def test_a_port_held_by_a_stranger_is_refused_with_its_holder(toy):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        toy.ports["a"] = stranger.getsockname()[1]
        with pytest.raises(EngineError) as caught:
            toy.up(toy.service("a"))
    message = caught.value.message
    assert f"127.0.0.1:{toy.port('a')} is held by process {os.getpid()} (" in message
    assert "pytest" in message or "python" in message
    assert "port" in caught.value.hint
    assert toy.alive() == []


def test_moving_to_another_port_and_back_is_no_conflict_with_oneself(toy):
    toy.up(toy.service("a", "--say", "one"))
    events = toy.up(toy.service("a", "--say", "two"))
    assert kinds(events, "a") == ["stopped", "started", "ready"]


def test_preparations_run_once_before_the_services(toy, tmp_path):
    made = tmp_path / "weights"
    code = f"import pathlib; print('unpacking'); pathlib.Path({str(made)!r}).write_text('x')"
    step = Preparation("unpack", (sys.executable, "-c", code), str(made))
    stack = Stack("toy", "process", (toy.service("a"),), (step,))
    events = list(toy.engine.apply(stack, {}))
    assert [e.kind for e in events if e.service == "unpack"] == ["started", "ready"]
    assert list(toy.engine.prepare(stack)) == []
    bad = Preparation("unpack", (sys.executable, "-c", "raise MemoryError"), str(tmp_path / "no"))
    with pytest.raises(EngineError, match=r"unpack could not be prepared: the machine's memory"):
        list(toy.engine.prepare(replace(stack, prepare=(bad,))))


def test_services_that_wait_for_each_other_are_refused(toy):
    circle = toy.service("a", after=("b",)), toy.service("b", after=("a",))
    with pytest.raises(EngineError, match="in a circle: a, b"):
        toy.up(*circle)


def test_logs_are_followed_across_services_and_restarts(toy):
    toy.up(toy.service("a", "--say", "first"), toy.service("b", "--say", "other"))
    assert {(line.service, line.text) for line in toy.engine.logs(["a", "b"])} == {
        ("a", "first"),
        ("b", "other"),
    }
    following = toy.engine.logs(["a"], lines=1, follow=True, poll_s=0.01)
    assert next(following).text == "first"
    list(toy.engine.restart(["a"]))
    assert next(following).text == "stopping"
    assert next(following).text == "first"
    following.close()


def test_changed_log_limits_hold_at_once_and_no_service_notices(toy):
    service = toy.service("a", "--say", "x" * 20_000)
    copies = [toy.layout.logs / f"a.log.{n}" for n in (1, 2, 3)]
    list(toy.engine.apply(replace(toy.stack(service), logs=LogLimits(10_000, 3)), {}))
    a = toy.pid("a")
    toy.until(copies[0].exists, "a log above its limit was turned over")
    copies[1].write_text("older")
    less = replace(toy.stack(service), logs=LogLimits(10_000, 2))
    assert toy.engine.plan(less, {}) == ()
    assert [e.kind for e in toy.engine.apply(less, {})] == []
    toy.until(lambda: not copies[1].exists(), "fewer copies are kept")
    assert copies[0].exists()
    assert toy.pid("a") == a
    assert toy.engine.running() == less


def test_the_supervisor_costs_little(toy):
    toy.up(toy.service("a"))
    for pid in toy.until(toy.standby, "a second one waits") and toy.alive(procfs.SUPERVISOR):
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        resident_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        assert resident_kb < 15 * 1024


def test_the_supervisor_imports_nothing_heavy():
    code = "import sys, infctl.engine.hands; print(*sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    heavy = {"pydantic", "typer", "rich", "yaml", "asyncio", "pathlib", "http", "ssl", "infctl.stack"}
    assert heavy.isdisjoint(out.stdout.split())


def test_a_broken_supervisor_is_told_with_its_own_words(toy, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'cannot run here' >&2\nexit 1\n")
    broken.chmod(0o755)
    toy.engine._python = str(broken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infctl.engine.process.SUPERVISOR_UP_WITHIN_S", 0.5)
        with pytest.raises(EngineError, match="supervisor did not start") as caught:
            toy.up(toy.service("a"))
    assert caught.value.log == ("cannot run here",)


def test_other_systems_get_a_clear_message(toy, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(EngineError, match="need Linux"):
        toy.engine.observe()


def test_events_are_bounded(tmp_path):
    for number in range(3000):
        books.append_event(str(tmp_path), {"n": number, "text": "x" * 150})
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= books.EVENTS_MAX_BYTES + 200
    last = (tmp_path / books.EVENTS).read_text().splitlines() or (
        tmp_path / f"{books.EVENTS}.1"
    ).read_text().splitlines()
    assert json.loads(last[-1])["n"] == 2999
