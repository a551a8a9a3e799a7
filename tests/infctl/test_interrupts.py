"""Ctrl-C at the moment in which Python cannot raise."""

from __future__ import annotations

import subprocess
import sys

LOSES = """
import signal, time
from infctl import interrupts

class Loses:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

{first}
try:
    Loses()
    time.sleep({pause_s})
    print("nobody was told")
except KeyboardInterrupt:
    print("told")
"""


def ran(first: str, pause_s: float) -> subprocess.CompletedProcess[str]:
    program = LOSES.format(first=first, pause_s=pause_s)
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )


def test_a_ctrl_c_in_a_destructor_comes_again_and_ends_a_pause() -> None:
    done = ran("interrupts.keep()", 30)
    assert (done.stdout, done.stderr) == ("told\n", "")


def test_without_it_python_goes_on_as_if_nobody_had_pressed_it() -> None:
    done = ran("", 0.1)
    assert done.stdout == "nobody was told\n"
    assert "Exception ignored in" in done.stderr


def test_any_other_error_there_is_told_as_python_tells_it() -> None:
    program = "from infctl import interrupts\ninterrupts.keep()\nclass C:\n def __del__(self): 1 / 0\nC()\n"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert "ZeroDivisionError" in done.stderr
