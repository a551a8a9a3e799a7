"""What `infctl bench` shows on a terminal while it measures; drawn by Rich, in a process of its own.

Drawing takes milliseconds, which would stand in the middle of somebody's time to first token. So the
measuring process writes a line of JSON into a pipe, at most four times a second and never waiting for
anybody; what that takes it is measured, and part of the run's verdict. `python -m infctl.cli.bench_live`
reads the lines and draws.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Self

from infctl.cli.text import duration, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from infctl.bench.client import Now
    from infctl.bench.results import Config

EVERY_S = 0.25
_START_S = 3.0
"""So long is waited for the drawing process; then the run begins without it."""
_END_S = 2.0
_SMOOTH = 0.3
"""Weight of the last quarter of a second in the rates that are shown."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A moment of a run."""

    label: str
    elapsed_s: float
    left_s: float | None
    """None: nobody can say."""
    done: int
    errors: int
    in_flight: int
    waiting: int
    requests_per_s: float
    tokens_per_s: float
    ttft_us: int | None
    """Median of the last requests (50 at most)."""


class Teller:
    """From the client's counts to what is to be seen; None: it is not yet time."""

    def __init__(self, given: Config, label: str, began: float) -> None:
        self._label, self._duration_s, self._total = label, given.duration_s, given.sent()
        self._began = self._at = began
        self._ok = self._tokens = 0
        self._rate = self._token_rate = 0.0

    def tell(self, now: Now, at: float) -> Seen | None:
        passed = at - self._at
        if passed < EVERY_S:
            return None
        weight = _SMOOTH if self._ok else 1.0
        self._rate += weight * ((now.ok - self._ok) / passed - self._rate)
        self._token_rate += weight * ((now.tokens - self._tokens) / passed - self._token_rate)
        self._at, self._ok, self._tokens = at, now.ok, now.tokens
        elapsed = at - self._began
        done = now.ok + now.failed
        if self._duration_s is not None:
            left: float | None = max(0.0, self._duration_s - elapsed)
        else:
            left = max(0, self._total - done) * elapsed / done if self._total and done else None
        firsts = sorted(now.firsts_us)
        return Seen(
            label=self._label,
            elapsed_s=elapsed,
            left_s=left,
            done=now.ok,
            errors=now.failed,
            in_flight=now.in_flight,
            waiting=now.waiting,
            requests_per_s=self._rate,
            tokens_per_s=self._token_rate,
            ttft_us=firsts[len(firsts) // 2] if firsts else None,
        )


class Display:
    """`with Display(config, label) as display: ... tell=display.tell`. Draws on stderr."""

    def __init__(self, given: Config, label: str, command: tuple[str, ...] = ()) -> None:
        self._command = command or (sys.executable, "-m", "infctl.cli.bench_live")
        self._given, self._label = given, label
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):  # without it nothing is shown, and everything is measured
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._process is not None and self._process.stdin and self._process.stdout:
            select.select([self._process.stdout], [], [], _START_S)
            self._pipe = self._process.stdin.fileno()
            os.set_blocking(self._pipe, False)
        self._teller = Teller(self._given, self._label, time.perf_counter())
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def tell(self, now: Now) -> None:
        """Called by the client's loop, twenty times a second."""
        if self._pipe is None:
            return
        seen = self._teller.tell(now, time.perf_counter())
        if seen is None:
            return
        try:
            os.write(self._pipe, json.dumps(asdict(seen), separators=(",", ":")).encode() + b"\n")
        except BlockingIOError:
            return  # it is behind, and one of the next will do
        except OSError:
            self._pipe = None  # whoever drew is gone


# The process that draws


def lines(seen: Seen) -> tuple[str, str]:
    """Two lines, in words."""
    left = f" · about {duration(seen.left_s)} left" if seen.left_s is not None else ""
    waiting = f" · {seen.waiting:,} wait for a place" if seen.waiting else ""
    first = f" · TTFT now {seen.ttft_us / 1000:,.0f} ms" if seen.ttft_us is not None else ""
    tokens = f" · {seen.tokens_per_s:,.0f} tokens/s" if seen.tokens_per_s else ""
    return (
        f"{seen.label}{duration(seen.elapsed_s)}{left} · {seen.done:,} done · {plural(seen.errors, 'error')}",
        f"{seen.requests_per_s:,.1f} requests/s{tokens} · {seen.in_flight:,} in flight{waiting}{first}",
    )


def drawn(seen: Seen) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head, body = lines(seen)
    told = Text(f"{head}\n{body}", no_wrap=True, overflow="ellipsis")
    if seen.errors:
        told.highlight_words([plural(seen.errors, "error")], "red")
    if seen.left_s is None:
        return told
    whole = seen.elapsed_s + seen.left_s
    grid = Table.grid()
    grid.add_row(ProgressBar(total=max(whole, 1e-9), completed=seen.elapsed_s, width=60))
    grid.add_row(told)
    return grid


def main(source: IO[str]) -> None:
    """Draw each line that comes; the end of the pipe is the end, and nothing is left on the screen."""
    from rich.live import Live

    from infctl.cli import console

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Live(console=console.talk(), transient=True, auto_refresh=False) as live:
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), b"ready\n")
        for line in source:
            live.update(drawn(Seen(**json.loads(line))), refresh=True)


if __name__ == "__main__":
    main(sys.stdin)
