"""Single keys from a terminal, without Enter."""

from __future__ import annotations

import os
import select
from types import TracebackType
from typing import IO, Any, Self


class Keys:
    """`with Keys(sys.stdin) as keys: keys.wait(1.0)`. The terminal is put back as it was."""

    def __init__(self, stream: IO[str]) -> None:
        self._fd = stream.fileno() if stream.isatty() else None
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if self._fd is not None:
            import termios
            import tty

            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None and self._before is not None:
            import termios

            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def wait(self, timeout_s: float) -> str:
        """The key pressed within `timeout_s`, or an empty string."""
        if self._fd is None:
            select.select([], [], [], timeout_s)
            return ""
        ready, _, _ = select.select([self._fd], [], [], timeout_s)
        return os.read(self._fd, 1).decode("utf-8", "replace") if ready else ""
