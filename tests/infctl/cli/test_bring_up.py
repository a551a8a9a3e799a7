"""`up` changes everything or nothing: real processes, real failures, and what is left after each."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infctl.cli.bring_up import Change, bring_up, read_typical
from infctl.engine import procfs
from infctl.engine.process import ProcessEngine
from infctl.errors import EngineError, GatewayError, Interrupted
from infctl.stack import Layout, Preparation, Readiness, Service, Stack


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ProcessEngine]:
    one = ProcessEngine(Layout(tmp_path, tmp_path / ".infctl" / "tiny"))
    yield one
    list(one.down())
    assert not procfs.marked(os.path.realpath(one.layout.home))


def server(name: str, **more: Any) -> Service:
    """Answers 200 on its port within a second or so."""
    port = free_port()
    argv = (
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        "/var/empty",
    )
    return Service(
        name=name,
        role="engine",
        argv=(*argv[:-1], str(Path(__file__).parent)),
        ready=Readiness(f"http://127.0.0.1:{port}/", 30),
        listen=(("127.0.0.1", port),),
        stop_timeout_s=5,
        **more,
    )


def stack(*services: Service, **more: Any) -> Stack:
    return Stack("tiny", "process", services, **more)


def nothing() -> Callable[[], None]:
    return lambda: None


def change(wanted: Stack, **more: Any) -> Change:
    return Change(
        **{"stack": wanted, "secrets": {}, "write": nothing, "prove": lambda _left: None, **more},
    )


def states(engine: ProcessEngine) -> dict[str, str]:
    return {s.name: s.state for s in engine.observe().services}


def go(engine: ProcessEngine, wanted: Change, *, keep: bool = False, timeout_s: float = 60) -> None:
    with engine.lock("test"):
        bring_up(engine, wanted, timeout_s=timeout_s, keep=keep, live=False)


def test_what_is_ready_is_proved_and_its_time_remembered(
    engine: ProcessEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    go(engine, change(stack(server("chat")), prove=asked.append))
    assert states(engine) == {"chat": "ready"}
    assert len(asked) == 1
    assert 0 < asked[0] <= 60
    assert 0 < read_typical(engine)["chat"] < 30
    assert "chat  ready" in capsys.readouterr().err


def test_models_that_do_not_answer_undo_a_first_start(engine: ProcessEngine) -> None:
    put_back = []

    def prove(_left: float) -> None:
        raise GatewayError("chat was asked and did not answer")

    with pytest.raises(GatewayError) as caught:
        go(engine, change(stack(server("chat")), prove=prove, write=lambda: lambda: put_back.append("files")))
    assert caught.value.hint == "nothing was left running"
    assert states(engine) == {}
    assert put_back == ["files"]


def test_a_service_that_dies_brings_back_what_ran_before(
    engine: ProcessEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    good = server("chat")
    go(engine, change(stack(good)))
    said = "import sys; print('No space left on device', flush=True); sys.exit(3)"
    bad = replace(good, argv=(sys.executable, "-c", said))
    with pytest.raises(EngineError) as caught:
        go(engine, change(stack(bad)))
    assert "chat did not start: the disk is full" in caught.value.message
    assert "No space left on device" in caught.value.log
    assert caught.value.hint.endswith("what ran before runs again")
    assert states(engine) == {"chat": "ready"}
    running = engine.running()
    assert running is not None
    assert running.service("chat").argv == good.argv
    assert "going back to what ran before" in capsys.readouterr().err


def test_keep_leaves_what_was_started(engine: ProcessEngine) -> None:
    def prove(_left: float) -> None:
        raise GatewayError("no")

    with pytest.raises(GatewayError) as caught:
        go(engine, change(stack(server("chat")), prove=prove), keep=True)
    assert "--keep" in caught.value.hint
    assert states(engine) == {"chat": "ready"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_undoes_and_says_what_is_left(engine: ProcessEngine, how: signal.Signals) -> None:
    def prove(_left: float) -> None:
        os.kill(os.getpid(), how)
        threading.Event().wait(5)  # it may reach another thread first, and then no pause of ours would end

    with pytest.raises(Interrupted) as caught:
        go(engine, change(stack(server("chat")), prove=prove))
    assert caught.value.exit_code == 130
    assert caught.value.hint == "nothing was left running"
    assert states(engine) == {}


def test_a_start_that_takes_too_long_names_who_is_waited_for(engine: ProcessEngine) -> None:
    slow = replace(server("chat"), argv=(sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(EngineError, match="--timeout is over, and chat is not ready"):
        go(engine, change(stack(slow)), timeout_s=2)
    assert states(engine) == {}


def test_a_preparation_that_fails_touches_nothing(engine: ProcessEngine, tmp_path: Path) -> None:
    def write() -> Callable[[], None]:
        raise AssertionError("files were written")

    step = Preparation(
        "unpack-chat", (sys.executable, "-c", "raise SystemExit('no weights here')"), str(tmp_path / "w")
    )
    with pytest.raises(EngineError) as caught:
        go(engine, change(stack(server("chat"), prepare=(step,)), write=write))
    assert "no weights here" in caught.value.log
    assert caught.value.hint.endswith("nothing was changed")


def test_a_preparation_is_shown_and_done_once(
    engine: ProcessEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "weights"
    code = f"import pathlib; pathlib.Path({str(made)!r}).mkdir()"
    step = Preparation("unpack-chat", (sys.executable, "-c", code), str(made))
    go(engine, change(stack(server("chat"), prepare=(step,))))
    assert "unpack-chat  started: preparing" in capsys.readouterr().err
    go(engine, change(stack(server("chat"), prepare=(step,))))
    assert "unpack-chat" not in capsys.readouterr().err


def test_a_fault_that_nobody_foresaw_leaves_nothing_either(
    engine: ProcessEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(_left: float) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        bring_up(engine, change(stack(server("one")), prove=full), timeout_s=60, keep=False, live=False)
    assert "nothing was left running" in capfd.readouterr().err
    assert not procfs.marked(os.path.realpath(engine.layout.home))


def test_a_closed_terminal_does_not_end_what_nohup_started(engine: ProcessEngine) -> None:
    def hang_up(_left: float) -> None:
        os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        bring_up(engine, change(stack(server("one")), prove=hang_up), timeout_s=60, keep=False, live=False)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert states(engine) == {"one": "ready"}
