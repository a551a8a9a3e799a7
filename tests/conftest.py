"""What all tests share: signals are heard, and the plug-ins of this folder."""

from __future__ import annotations

import signal

pytest_plugins = ("tests.skips", "tests.side_by_side", "tests.docker.fixtures")


def pytest_configure() -> None:
    """Under nohup or in a shell's background signals are ignored, and children inherit that: hear them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
