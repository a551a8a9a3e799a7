"""What `infctl up` shows while it waits: which service, which phase, since when, how long it usually takes.

On a terminal a few lines that change in place; elsewhere a line a change and a heartbeat, so that a log of a
build says what it was waiting for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from infctl.cli import console
from infctl.cli.phases import FIRST, phase
from infctl.cli.text import duration
from infctl.engine.model import Event

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

HEARTBEAT_S = 10.0
_DONE = {"ready", "stopped", "reloaded", "failed"}
_WORDS = {
    "started": "started",
    "waiting": "waiting for its turn",
    "loading": "loading",
    "ready": "ready",
    "reloaded": "reloaded",
    "stopped": "stopped",
    "crashed": "crashed",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Line:
    """The latest of one service."""

    service: str
    kind: str
    text: str
    began: float
    """Of the service's start, in the display's own clock."""
    at: float
    """Of the last event."""

    @property
    def done(self) -> bool:
        return self.kind in _DONE

    def phase(self) -> str:
        word = _WORDS.get(self.kind, self.kind)
        if not self.text:
            return word
        if self.text == "done":  # of what runs to its end once
            return self.text
        return self.text if self.text.startswith(word) or self.kind == "loading" else f"{word}: {self.text}"

    def show(self, now: float, width: int, typical_s: float | None) -> str:
        spent = duration((self.at if self.done else now) - self.began)
        usual = f" of about {duration(typical_s)}" if typical_s and not self.done else ""
        if self.kind in {"waiting", "reloaded", "stopped"}:  # no time of a start to tell
            return f"  {self.service:<{width}}  {self.phase()}"
        return f"  {self.service:<{width}}  {self.phase():<28}  {spent}{usual}"


class Progress:
    """`with Progress(names, typical) as progress: progress.take(event)`. The display has its own thread."""

    def __init__(
        self,
        names: tuple[str, ...],
        typical_s: Mapping[str, float],
        *,
        live: bool,
        ctrl_c: str = "Ctrl-C ends the watching",
        roles: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._width = max((len(name) for name in names), default=8)
        self._typical_s = typical_s
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._started: dict[str, float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._live = live
        self._ctrl_c = ctrl_c
        self._roles = roles or {}
        self._heartbeat_s = heartbeat_s
        self._display: Live | None = None
        self._beat: threading.Thread | None = None
        self.ready_s: dict[str, float] = {}
        """Seconds from start to ready of what became ready."""

    def __enter__(self) -> Self:
        if self._live:
            from rich.live import Live

            self._display = Live(
                console=console.talk(), get_renderable=self._render, refresh_per_second=4, transient=True
            )
            self._display.start()
        else:
            self._beat = threading.Thread(target=self._heartbeats, name="heartbeat", daemon=True)
            self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._display is not None:
            self._display.stop()
            for line in self._snapshot():
                console.say(line)
        if self._beat is not None:
            self._beat.join(timeout=1)

    def take(self, event: Event) -> None:
        """Show one event of the engine."""
        now = self._clock()
        if event.kind == "note":
            self._print(f"  {event.service:<{self._width}}  {event.text}")
            return
        with self._lock:
            before = self._lines.get(event.service)
            text = event.text
            if event.kind == "loading":
                so_far = before.text if before and before.kind == "loading" else FIRST
                text = phase(self._roles.get(event.service, ""), so_far, event.text)
            line = Line(event.service, event.kind, text, now - event.elapsed_s, now)
            self._lines[event.service] = line
        if event.kind == "started":
            self._started[event.service] = now - event.elapsed_s
        if event.kind == "ready":
            # From its start: one that is replaced was drained before, which says nothing of the next start.
            begun = self._started.get(event.service)
            self.ready_s[event.service] = event.elapsed_s if begun is None else now - begun
        changed = before is None or (before.kind, before.text) != (line.kind, line.text)
        if self._display is None and changed:
            console.say(line.show(now, self._width, self._typical_s.get(event.service)))

    def waiting(self) -> list[str]:
        """The services that are not done."""
        with self._lock:
            return [line.service for line in self._lines.values() if not line.done]

    def lines(self, now: float) -> list[str]:
        """What the display shows at `now`, the name of what is waited for last."""
        with self._lock:
            current = tuple(self._lines.values())
        shown = [line.show(now, self._width, self._typical_s.get(line.service)) for line in current]
        open_ = [line for line in current if not line.done and line.kind != "waiting"]
        if open_:
            shown.append(f"waiting for {', '.join(line.service for line in open_)} · {self._ctrl_c}")
        return shown

    def _snapshot(self) -> list[str]:
        return [line for line in self.lines(self._clock()) if not line.startswith("waiting for ")]

    def _print(self, text: str) -> None:
        if self._display is not None:
            self._display.console.print(text)
        else:
            console.say(text)

    def _render(self) -> Text:
        from rich.text import Text

        text = Text()
        for line in self.lines(self._clock()):
            style = "green" if "  ready" in line else "dim" if line.startswith("waiting for ") else ""
            text.append(line + "\n", style=style)
        return text

    def _heartbeats(self) -> None:
        while not self._over.wait(self._heartbeat_s):
            now = self._clock()
            with self._lock:
                current = tuple(self._lines.values())
            for line in current:
                if not line.done and line.kind != "waiting":
                    console.say(
                        f"{line.show(now, self._width, self._typical_s.get(line.service))}, still waiting"
                    )
