"""What is seen of a run on a terminal, and that seeing it holds nothing up."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

from infctl.bench.client import Now, told
from infctl.bench.figures import Window, figures
from infctl.bench.verdict import judge
from infctl.cli import bench_live
from infctl.cli.bench_live import Display, Seen, Teller, lines
from tests.infctl.bench.conftest import Stub
from tests.infctl.bench.virtual import config


def test_four_times_a_second_at_most_and_rates_of_the_last_moments() -> None:
    teller = Teller(config(requests=40), "", began=100.0)
    now = Now(ok=5, in_flight=4, tokens=80, firsts_us=deque([30_000, 10_000, 20_000]))
    assert teller.tell(now, 100.2) is None
    seen = teller.tell(now, 100.5)
    assert seen is not None
    assert (seen.requests_per_s, seen.tokens_per_s, seen.ttft_us) == (10.0, 160.0, 20_000)
    assert seen.left_s == pytest.approx(3.5)
    assert teller.tell(now, 100.7) is None
    now.ok, now.failed = 10, 1
    later = teller.tell(now, 101.0)
    assert later is not None
    assert (later.done, later.errors, later.requests_per_s) == (10, 1, 10.0)


def test_a_run_with_a_duration_ends_when_it_ends_and_a_fresh_one_knows_nothing() -> None:
    timed = Teller(config(requests=None, duration_s=60.0), "", began=0.0).tell(Now(), 1.0)
    assert timed is not None
    assert (timed.left_s, timed.ttft_us) == (59.0, None)
    counted = Teller(config(requests=40), "", began=0.0).tell(Now(), 1.0)
    assert counted is not None
    assert counted.left_s is None


def test_rate_in_flight_ttft_errors_and_the_time_left_are_told_in_words() -> None:
    seen = Seen("2 of 4 A · ", 12.0, 8.0, 1204, 1, 8, 3, 41.23, 1320.0, 45_000)
    assert lines(seen) == (
        "2 of 4 A · 12 s · about 8.0 s left · 1,204 done · 1 error",
        "41.2 requests/s · 1,320 tokens/s · 8 in flight · 3 wait for a place · TTFT now 45 ms",
    )


def test_a_display_that_hangs_or_dies_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_live, "EVERY_S", 0.0)
    monkeypatch.setattr(bench_live, "_END_S", 0.1)
    hangs = "import time; print('ready', flush=True); time.sleep(60)"
    began = time.monotonic()
    with Display(config(), "", (sys.executable, "-c", hangs)) as display:
        for _ in range(2000):  # ten times what a pipe holds
            display.tell(Now(ok=1, in_flight=1))
    with Display(config(), "", (sys.executable, "-c", "print('ready')")) as display:
        assert display._process is not None
        display._process.wait(10)
        for _ in range(3):
            display.tell(Now(ok=1))
    with Display(config(), "", ("/there/is/no/such/program",)) as display:
        display.tell(Now(ok=1))
    assert time.monotonic() - began < 20


def test_what_showing_takes_is_part_of_the_verdict() -> None:
    assert told([0.0001] * 99 + [0.5]) == {"told_p99_us": 100, "told_us": 509_900}
    assert told([]) == {"told_p99_us": 0, "told_us": 0}
    nothing = figures([], Window(0, 1_000_000))
    reasons = judge(nothing, {"told_p99_us": 30_000}).reasons
    assert "showing the progress held the loop up for 30.0 ms at p99" in {reason.text for reason in reasons}


def test_a_terminal_sees_the_run_and_keeps_none_of_it(stub: Stub, tmp_path: Path) -> None:
    args = ("run", "steady", "--url", stub.url, "-c", "2", "--duration", "2", "--out", "4")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "infctl", "bench", *args],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "GATEWAY_API_KEY": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    screen = b""
    try:
        while piece := os.read(master, 65_536):
            screen += piece
    except OSError:  # Linux: the last who wrote has closed it
        pass
    out, _ = process.communicate(timeout=30)
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode())
    assert "2 in flight · TTFT now " in text
    assert "left · " in text
    assert b"\x1b[" not in out
    assert b"in flight" in out  # the result's own line
    assert b"kept in " in screen.splitlines()[-1] or b"error:" in screen  # what was drawn is gone


def test_piped_it_is_quiet(stub: Stub, tmp_path: Path) -> None:
    args = ("run", "fast", "--url", stub.url, "-n", "30", "--out", "4")
    done = subprocess.run(
        [sys.executable, "-m", "infctl", "bench", *args],
        cwd=tmp_path,
        env={**os.environ, "GATEWAY_API_KEY": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "\x1b" not in done.stderr + done.stdout
    assert "TTFT now" not in done.stderr + done.stdout
