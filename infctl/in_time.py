"""An answer within a time, from something that cannot be told to hurry: a driver, a name server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def answer(ask: Callable[[], T], timeout_s: float) -> T:
    """What `ask` returns or raises. Raises TimeoutError; what hangs is left behind and never waited for."""
    return asked(ask, timeout_s)()


def asked(ask: Callable[[], T], timeout_s: float) -> Callable[[], T]:
    """As `answer`, but it is asked from now on, and what comes back waits for what is left of the time."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # noqa: BLE001 - carried to the caller, whatever it is
            errors.append(error)

    thread = threading.Thread(target=run, name="in-time", daemon=True)
    deadline = time.monotonic() + timeout_s
    thread.start()

    def wait() -> T:
        thread.join(max(0.0, deadline - time.monotonic()))
        if errors:
            raise errors[0]
        if not answers:
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        return answers[0]

    return wait
