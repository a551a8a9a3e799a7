"""`status --watch` and `top` as they are run: real pages over loopback, and a real terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.cli import shapes
from infctl.cli.live_look import LiveLook, read
from infctl.cli.project import open_project
from infctl.watch.counts import GATEWAY, count

from .conftest import METRICS, Gateway, Run, write_profile

LABEL = b'x\\"\\n\x1b[2J' + b"y" * 10_000
CALLS = b'infctl_requests_total{tenant="%b",model="chat",backend="chat",outcome="ok",reason=""} %d\n'
HOME = "\x1b[?1049"
"""The other screen: h goes there, l comes back."""


@pytest.fixture
def served(tmp_path: Path, gateway: Gateway, engines: tuple[Gateway, Gateway], run: Run) -> Gateway:
    """A profile whose gateway and engines are where the fake ones listen."""
    write_profile(tmp_path, gateway, engines)
    gateway.well()
    gateway.answers["/metrics"] = (200, METRICS + CALLS % (LABEL, 7))
    return gateway


def test_the_pages_of_gateway_and_engines_are_read(served: Gateway, engines: tuple[Gateway, Gateway]) -> None:
    engines[0].answers["/metrics"] = (200, b"vllm:generation_tokens_total 5\nvllm:kv_cache_usage_perc 0.5\n")
    now = LiveLook(open_project(None)).scrape({"chat", "embed"}).now
    assert now.engines["chat"].tokens_out == 5
    assert now.backends["chat"].requests == 7
    assert dict(now.down) == {}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((401, {}), "it refuses the key (401): ADMIN_API_KEY is not the one that it has"),
        ((500, {}), "it answers 500"),
        ((200, b"<html>"), "its /metrics is a page of somebody else"),
    ],
)
def test_a_gateway_that_tells_nothing_is_down_with_the_reason(served: Gateway, answer: Any, why: str) -> None:
    served.answers["/metrics"] = answer
    assert LiveLook(open_project(None)).scrape({"embed"}).now.down == {GATEWAY: why}


def test_the_pages_of_several_gateways_are_added_up_and_one_that_is_gone_is_told() -> None:
    text = 'infctl_requests_total{model="chat",tenant="a",outcome="ok"} %d\ninfctl_start_time_seconds %d\n'
    answers = {
        "gateway": {"error": "connect", "why": "connection refused"},
        "gateway#2": {"status": 200, "body": text % (3, 1)},
        "gateway#3": {"status": 200, "body": text % (4, 2)},
        "gateway#4": {"status": 200, "body": text % (4, 2)},
        "chat": {"status": 200, "body": "vllm:num_requests_running 1\n"},
    }
    now = count(read(answers), at=1.0)
    assert now.tenants["a"].requests == 7
    assert now.down == {"gateway#1": "connection refused"}
    assert set(now.engines) == {"chat"}
    alone = count(read({"gateway": answers["gateway"], "chat": answers["chat"]}), at=1.0)
    assert dict(alone.down) == {GATEWAY: "connection refused"}


def test_an_engine_that_is_gone_leaves_the_others(served: Gateway, tmp_path: Path) -> None:
    profile = yaml.safe_load((tmp_path / "infctl.yaml").read_text())
    profile["engines"]["port_base"] += 1  # embed is now where nobody listens
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile))
    now = LiveLook(open_project(None)).scrape({"chat", "embed"}).now
    assert set(now.engines) == {"chat"}
    assert "refused" in now.down["embed"]


def test_top_tells_the_busiest_of_two_looks_and_the_label_as_text(run: Run, served: Gateway) -> None:
    done = run("top", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith('x"\\n\\x1b[2Jyyy')
    assert "\x1b" not in done.stdout
    told = json.loads(run("top", "--seconds", "0.2", "--json", "--by", "model").stdout)
    assert list(told) == list(shapes.TOP)
    assert (told["busiest"][0]["name"], told["busiest"][0]["requests"]) == ("chat", 7)
    assert run("top", "--sort", "fame").returncode == 64


def test_top_of_a_gateway_that_is_gone_says_so_at_once(run: Run, served: Gateway) -> None:
    served.answers["/metrics"] = (401, {})
    done = run("top", "--seconds", "100")
    assert "the gateway's figures are missing: it refuses the key (401)" in done.stdout


# On a terminal


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.far, near = pty.openpty()
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self.before = termios.tcgetattr(near)
        env = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infctl", *args],
            cwd=folder, stdin=near, stdout=near, stderr=near, env=env, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )  # fmt: skip
        self.near = near
        self.text = ""

    def until(self, sign: str, limit_s: float = 30.0) -> None:
        deadline = time.monotonic() + limit_s
        while sign not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, self.text[-3000:]
            if select.select([self.far], [], [], min(left, 0.5))[0]:
                self.text += os.read(self.far, 65_536).decode("utf-8", "replace")
            assert self.process.poll() is None or sign in self.text, self.text[-3000:]

    def press(self, key: bytes) -> None:
        os.write(self.far, key)

    def ended(self) -> int:
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.far], [], [], 0.05)[0]:
                self.text += os.read(self.far, 65_536).decode("utf-8", "replace")
        while select.select([self.far], [], [], 0.05)[0]:
            self.text += os.read(self.far, 65_536).decode("utf-8", "replace")
        return self.process.wait(1)

    def is_clean(self) -> bool:
        """Back on the first screen, with the cursor, and echoing what is typed."""
        back = self.text.rfind(f"{HOME}l") > self.text.rfind(f"{HOME}h") >= 0
        cursor = self.text.rfind("\x1b[?25h") > self.text.rfind("\x1b[?25l")
        return back and cursor and termios.tcgetattr(self.near) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.far)
        os.close(self.near)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def begin(*args: str) -> Terminal:
            made = Terminal(tmp_path, *args)
            stack.callback(made.close)
            return made

        yield begin


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_the_terminal_is_left_as_it_was(served: Gateway, terminal: Any, how: str) -> None:
    shown = terminal("status", "--watch")
    shown.until("q ends")
    shown.until(HOME)
    if how == "SIGTERM":
        shown.process.send_signal(signal.SIGTERM)
    else:
        shown.press(b"\x03")
    assert shown.ended() == 0, shown.text[-3000:]
    assert shown.is_clean()
    assert "Traceback" not in shown.text


def test_top_follows_keys_and_a_label_moves_nothing(served: Gateway, terminal: Any) -> None:
    shown = terminal("top")
    shown.until("busiest tenants by requests")
    shown.press(b"m")
    shown.until("busiest models by requests")
    shown.press(b"k")
    shown.until("busiest models by tokens")
    assert 'x"\\n\\x1b[2Jyyy' in shown.text
    assert "yy\x1b[2J" not in shown.text
    assert 'x"\n' not in shown.text
    shown.press(b"q")
    assert shown.ended() == 0
    assert shown.is_clean()


def test_a_gateway_that_hangs_keeps_no_key_waiting(served: Gateway, terminal: Any) -> None:
    released = threading.Event()
    shown = terminal("top")
    shown.until("busiest tenants")
    asked = len(served.asked)
    served.answers["/metrics"] = lambda _handler: released.wait(30)
    deadline = time.monotonic() + 20
    while len(served.asked) == asked and time.monotonic() < deadline:
        time.sleep(0.02)
    shown.press(b"q")
    begun = time.monotonic()
    assert shown.ended() == 0
    assert time.monotonic() - begun < 2.5, "less than a page is waited for"
    released.set()
