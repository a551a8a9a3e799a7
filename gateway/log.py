"""JSON lines on stdout: one a request, one for what happens to the gateway. Never a body, never a key.

What a client or a backend brought into a line is redacted where lines are written (`hide`), which is the one
place that all of them pass.

Lines are gathered and handed to a thread, so that a stopped reader of our stdout cannot stop requests.
What does not fit into PENDING_BYTES is dropped and counted.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from gateway.config import Log

FLUSH_S: Final = 0.5
FLUSH_BYTES: Final = 32 * 1024
"""Smaller than what malloc asks the kernel for: larger blocks grew the heap of a busy gateway by 15 MB."""
PENDING_BYTES: Final = 16 * 1024 * 1024
"""Waiting for stdout."""
CLOSE_S: Final = 2.0

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Journal:
    """The log of one process. `write` may be called from the event loop only."""

    def __init__(
        self,
        settings: Log,
        wall: Callable[[], float],
        fd: int = 1,
        *,
        worker: int | None = None,
        lock: int | None = None,
    ) -> None:
        """`worker`: stands in every event. `lock`: an open file, locked while one of them writes."""
        self._wall = wall
        self._fd = fd
        self._lock = lock
        self._who: dict[str, Any] = {} if worker is None else {"worker": worker}
        self._lines: list[bytes] = []
        self._size = 0
        self._clean = True
        """Nothing in those lines is to be hidden."""
        self._queue: queue.SimpleQueue[tuple[bytes, bool] | None] = queue.SimpleQueue()
        self._pending = 0
        self._worker: threading.Thread | None = None
        self._second, self._prefix = -1, ""
        self._ms, self._now = -1, ""
        self.lost = 0
        """Lines dropped."""
        self.hide: Callable[[bytes], bytes] | None = None
        """Whole lines -> as many, without what is not to be written. In the writing thread."""
        self.configure(settings)

    def configure(self, settings: Log) -> None:
        self._level = _LEVELS[settings.level]
        self.requests = settings.requests and self._level <= _LEVELS["info"]

    def event(self, level: str, event: str, **facts: Any) -> None:
        """Something happened to the gateway. Written at once."""
        if _LEVELS[level] >= self._level:
            self.write({"ts": self.now(), "level": level, "event": event, **self._who, **facts})
            self.flush()

    def request(self, line: bytes, *, clean: bool) -> None:
        """One request ended. `clean`: nothing in its line is to be hidden."""
        self._clean = self._clean and clean
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self.flush()

    def write(self, facts: dict[str, Any]) -> None:
        """Facts begin with `ts`."""
        self.request(orjson.dumps(facts, default=str, option=orjson.OPT_APPEND_NEWLINE), clean=False)

    def now(self) -> str:
        """The time as RFC 3339 with milliseconds: made once a millisecond, up to the second once a second."""
        ms = int(self._wall() * 1000)
        if ms != self._ms:
            self._ms = ms
            second, rest = divmod(ms, 1000)
            if second != self._second:
                self._second = second
                self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            self._now = f"{self._prefix}{rest:03d}Z"
        return self._now

    def flush(self) -> None:
        """Hands what was gathered to the writing thread."""
        if not self._lines:
            return
        lines, self._lines, self._size = self._lines, [], 0
        block, clean = b"".join(lines), self._clean
        self._clean = True
        if self._pending + len(block) > PENDING_BYTES:
            self.lost += len(lines)
            return
        if self._worker is None:
            self._worker = threading.Thread(target=self._run, name="log", daemon=True)
            self._worker.start()
        self._pending += len(block)
        self._queue.put((block, clean))

    def close(self) -> None:
        """Writes what is left, for at most CLOSE_S."""
        self.flush()
        if self._worker is not None:
            self._queue.put(None)
            self._worker.join(CLOSE_S)
            self._worker = None

    def _run(self) -> None:
        while (given := self._queue.get()) is not None:
            block, clean = given
            hide = self.hide
            try:
                written = block if hide is None or clean else hide(block)
                if self._lock is None:
                    self._out(written)
                else:
                    self._out_alone(self._lock, written)
            except OSError:
                pass  # nobody reads our stdout any more: the service goes on
            self._pending -= len(block)

    def _out(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            taken = os.write(self._fd, view)
            view = view[taken:]

    def _out_alone(self, lock: int, block: bytes) -> None:
        """A pipe takes more than 4 KiB in several pieces, and other processes' lines may come between."""
        import fcntl  # noqa: PLC0415 - not there on Windows

        fcntl.lockf(lock, fcntl.LOCK_EX)
        try:
            self._out(block)
        finally:
            fcntl.lockf(lock, fcntl.LOCK_UN)
