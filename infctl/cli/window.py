"""The window that facts are drawn for: how wide it is, and which letters it knows."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import sys

from infctl.cli import console

LEAST = 60
WIDEST = 140
"""Columns. Wider lines are harder to read, and tables do not grow beyond it."""
_NOBODY_LOOKS = 100


def width() -> int:
    """Columns of the terminal, within limits; off a terminal $COLUMNS, else 100."""
    if console.is_tty():
        return max(LEAST, min(WIDEST, shutil.get_terminal_size().columns))
    given = os.environ.get("COLUMNS", "")
    return max(LEAST, min(WIDEST, int(given))) if given.isdecimal() and len(given) < 6 else _NOBODY_LOOKS


def speaks_utf8() -> bool:
    """Whether stdout takes any letter."""
    with contextlib.suppress(LookupError, TypeError):
        return codecs.lookup(sys.stdout.encoding or "").name == "utf-8"
    return False
