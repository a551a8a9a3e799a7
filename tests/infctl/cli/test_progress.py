"""What a person sees while services start: each wait has a name."""

from __future__ import annotations

import threading

import pytest

from infctl.cli.progress import Progress
from infctl.engine.model import Event

EVENTS = [
    (0.0, Event("chat", "started", "pid 4711", 0.0)),
    (0.1, Event("embed", "waiting", "chat to be ready", 0.0)),
    (3.0, Event("chat", "loading", "loading weights", 3.0)),
    (41.0, Event("chat", "ready", "", 41.0)),
    (41.2, Event("embed", "started", "", 0.1)),
]
ROLES = {"chat": "engine", "embed": "engine", "gateway": "gateway", "weights": "weights"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_off_a_terminal_each_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress(("chat", "embed"), {"chat": 40.0}, live=False, clock=clock, roles=ROLES) as progress:
        for at, event in EVENTS:
            clock.now = at
            progress.take(event)
            progress.take(event)  # the same again says nothing new
        progress.take(Event("chat", "note", "weights unpacked"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "  chat   started: pid 4711             0.0 s of about 40 s",
        "  embed  waiting for its turn: chat to be ready",
        "  chat   loading weights               3.0 s of about 40 s",
        "  chat   ready                         41 s",
        "  embed  started                       0.1 s",
        "  chat   weights unpacked",
    ]
    assert progress.ready_s == {"chat": 41.0}


def test_the_display_names_what_it_waits_for_and_how_long_that_takes() -> None:
    clock = Clock()
    progress = Progress(("chat", "embed"), {"chat": 40.0}, live=False, clock=clock, roles=ROLES)
    for at, event in EVENTS[:3]:
        clock.now = at
        progress.take(event)
    assert progress.lines(12.0) == [
        "  chat   loading weights               12 s of about 40 s",
        "  embed  waiting for its turn: chat to be ready",
        "waiting for chat · Ctrl-C ends the watching",
    ]


def test_what_is_no_engine_says_what_it_says_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress((), {}, live=False, clock=Clock(), roles=ROLES) as progress:
        progress.take(Event("weights", "loading", "3.1 of 15.2 GB", 2.0))
        progress.take(Event("weights", "ready", "done", 4.0))
        progress.take(Event("gateway", "loading", '{"ts": 1, "event": "listening"}', 1.0))
        progress.take(Event("image vllm:1", "loading", "fetching " + "x" * 100, 1.0))
    shown = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[2].strip() for line in shown[:3]] == ["3.1 of 15.2 GB", "done", "starting"]
    assert "…" in shown[3]
    assert len(shown[3]) < 110


def test_a_heartbeat_shows_that_a_long_wait_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    beats = threading.Event()

    def clock() -> float:
        if threading.current_thread().name == "heartbeat":
            beats.set()
        return 20.0

    with Progress(("chat",), {}, live=False, clock=clock, heartbeat_s=0.01) as progress:
        progress.take(Event("chat", "loading", "loading weights", 20.0))
        beats.clear()
        assert beats.wait(10)
    assert "chat  loading weights               20 s, still waiting" in capsys.readouterr().err


def test_the_live_display_leaves_the_last_state_behind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Progress(("chat",), {}, live=True) as progress:
        progress.take(Event("chat", "loading", "loading weights", 3.0))
        progress.take(Event("chat", "ready", "", 4.0))
    assert "chat  ready                         4.0 s" in capsys.readouterr().err
