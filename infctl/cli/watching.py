"""A screen that is drawn again and again until `q`: of `status` and `quota show`, with --watch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

from infctl.cli import console

QUIT = frozenset(("q", "Q", "\x1b", "\x03"))


def watch(rows: Callable[[int], list[str]], every_s: float) -> None:
    """`rows`: of a window so many columns wide; those that fit are shown."""
    from rich.live import Live
    from rich.text import Text

    from infctl.cli.keys import Keys

    def screen() -> Text:
        width, height = shutil.get_terminal_size()
        shown = [*rows(width)[: height - 2], "", console.styled("q ends", "dim")]
        return Text.from_ansi("\n".join(shown), no_wrap=True, overflow="crop")

    with (
        Keys(sys.stdin) as keys,
        Live(screen(), console=console.tables(), screen=True, auto_refresh=False) as live,
    ):
        try:
            while keys.wait(every_s) not in QUIT:
                live.update(screen(), refresh=True)
        except KeyboardInterrupt:
            return
