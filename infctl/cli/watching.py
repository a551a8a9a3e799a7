"""Screens that are drawn again and again until `q`: of `status`, `top` and `quota show`."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Generic, TypeVar

from infctl.cli import console

if TYPE_CHECKING:
    from rich.console import RenderableType

QUIT = frozenset(("q", "Q", "\x1b", "\x03"))
KEY_S = 0.1
"""How long a key may wait for an answer, however long a look takes."""
T = TypeVar("T")


def watch(rows: Callable[[int], list[str]], every_s: float) -> None:
    """`rows`: of a window so many columns wide; those that fit are shown."""
    from rich.text import Text

    def draw(_: None, width: int, height: int) -> RenderableType:
        shown = [*rows(width)[: height - 2], "", console.styled("q ends", "dim")]
        return Text.from_ansi("\n".join(shown), no_wrap=True, overflow="crop")

    live(lambda: None, draw, every_s)


def live(
    look: Callable[[], T],
    draw: Callable[[T, int, int], RenderableType],
    every_s: float,
    pressed: Callable[[str], bool] = lambda _key: False,
) -> None:
    """Looks every `every_s` beside the screen, so that a target that hangs keeps no key waiting.

    `draw`: (what was seen, columns, lines); `pressed`: a key that is none of QUIT; true: draw again. The
    first look is taken before the screen is: what it raises is told as any error. Ctrl-C and SIGTERM leave
    the terminal as it was.
    """
    from rich.live import Live

    from infctl.cli.keys import Keys

    latest = _Latest(look, every_s, look())

    def screen() -> RenderableType:
        return draw(latest.value, *shutil.get_terminal_size())

    shown = Live(
        screen(), console=console.tables(), screen=True, auto_refresh=False, vertical_overflow="crop"
    )
    keys = Keys(sys.stdin)
    with contextlib.suppress(KeyboardInterrupt), _terminated(), contextlib.ExitStack() as ends:
        # Before each begins: Ctrl-C may come in the middle of that.
        ends.push(keys)
        ends.callback(shown.stop)
        ends.enter_context(latest)
        keys.__enter__()
        shown.start(refresh=True)
        seen, size = latest.number, shutil.get_terminal_size()
        while (key := keys.wait(KEY_S)) not in QUIT:
            latest.check()
            if (key and pressed(key)) or (latest.number, shutil.get_terminal_size()) != (seen, size):
                seen, size = latest.number, shutil.get_terminal_size()
                shown.update(screen(), refresh=True)


class _Latest(Generic[T]):
    """What was seen last, by a thread that looks."""

    def __init__(self, look: Callable[[], T], every_s: float, first: T) -> None:
        self.value = first
        self.number = 0
        self._look = look
        self._every_s = every_s
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="look", daemon=True)

    def __enter__(self) -> _Latest[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()  # a look that hangs is not waited for

    def check(self) -> None:
        """Raises what a look raised."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self.value = self._look()
            except BaseException as error:  # noqa: BLE001 - carried to whoever draws
                self._error = error
                return
            self.number += 1


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does: on its way out the terminal is put back."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
