"""A Ctrl-C that Python lost comes again.

KeyboardInterrupt is raised wherever the main thread happens to be. In a destructor or in a weak reference's
callback (an import's locks have one) nobody can catch it: Python prints "Exception ignored in" and goes on,
and whoever pressed Ctrl-C waits for nothing. https://docs.python.org/3/library/sys.html#sys.unraisablehook
"""

from __future__ import annotations

import _thread
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

AGAIN_S = 0.01
"""Later: by then whatever lost it has returned."""


def keep() -> None:
    """From now on, in this process. Called by its main thread."""
    sys.unraisablehook = hook(_thread.get_ident())


def hook(thread: int) -> Callable[[Any], None]:
    """For sys.unraisablehook. `thread`: who is interrupted again."""

    def again() -> None:
        time.sleep(AGAIN_S)
        signal.pthread_kill(thread, signal.SIGINT)  # ends a pause of that thread, too

    def lost(what: Any) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            _thread.start_new_thread(again, ())
        else:
            sys.__unraisablehook__(what)

    return lost
