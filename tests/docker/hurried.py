"""infctl as it is, except that Docker asks each container for its health every second and not every five.

    python -P tests/docker/hurried.py ARGUMENTS OF INFCTL

What waits for a container that is healthy waits for Docker to ask, which is most of the time of a small one.

Two platforms on one machine would take each other's names: the gateway's and the edge's containers have fixed
ones. Where the variable INFCTL_TEST_NAMES says what to add to them, they have others.
"""

from __future__ import annotations

import sys

try:
    from infctl import interrupts

    interrupts.keep()
    import os
    from collections.abc import Iterator
    from contextlib import contextmanager
    from pathlib import Path
    from typing import Any

    from infctl.stack import containers
except KeyboardInterrupt:  # as infctl itself takes it, whose own import this stands for
    sys.exit(130)

EVERY_S = 1.0
RETRIES = 15
"""As long as three of five seconds."""
COMMAND = (sys.executable, "-P", str(Path(__file__).resolve()))
NAMES = "INFCTL_TEST_NAMES"
FIXED = ("GATEWAY_HOST", "EDGE_HOST")


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


@contextmanager
def own_names(mark: str) -> Iterator[None]:
    """In this process: `inference-gateway` is `inference-gateway<mark>`, `inference-nginx` likewise."""
    from infctl.render import gateway, prometheus
    from infctl.stack import front, names

    kept = [
        (vars(module), name, vars(module)[name])
        for module in (names, front, gateway, prometheus)
        for name in FIXED
        if name in vars(module)
    ]
    try:
        for there, name, value in kept:
            there[name] = f"{value}{mark}"
        yield
    finally:
        for there, name, value in kept:
            there[name] = value


def renamed(mark: str) -> None:
    """For good, and before anything else takes them from there."""
    from infctl.stack import names

    for name in FIXED:
        vars(names)[name] += mark


if __name__ == "__main__":
    try:
        if NAMES in os.environ:
            renamed(os.environ[NAMES])
        from infctl.__main__ import main
    except KeyboardInterrupt:
        sys.exit(130)

    with hurried():
        main()
