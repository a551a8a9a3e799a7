"""infctl as it is, except that Docker asks each container for its health every second and not every five.

    python -P tests/docker/hurried.py ARGUMENTS OF INFCTL

What waits for a container that is healthy waits for Docker to ask, which is most of the time of a small one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    from infctl.stack import containers
except KeyboardInterrupt:  # as infctl itself takes it, whose own import this stands for
    sys.exit(130)

EVERY_S = 1.0
RETRIES = 15
"""As long as three of five seconds."""
COMMAND = (sys.executable, "-P", str(Path(__file__).resolve()))


@contextmanager
def hurried() -> Iterator[None]:
    init: Any = containers.Healthcheck.__init__
    before = init.__defaults__
    every_s, timeout_s, retries, start_period_s = before
    assert every_s * retries == EVERY_S * RETRIES
    init.__defaults__ = (EVERY_S, timeout_s, RETRIES, start_period_s)
    try:
        yield
    finally:
        init.__defaults__ = before


if __name__ == "__main__":
    from infctl.__main__ import main

    with hurried():
        main()
