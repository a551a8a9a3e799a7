"""One worker of a gateway with several: `python -m gateway.worker POST`, started by gateway.workers.parent.

It listens on sockets that it inherits, and obeys the parent alone: a signal meant for the gateway reaches all
processes of its group, and the workers have to stop together.
"""

from __future__ import annotations

import os
import signal
import sys

import orjson


def main(argv: list[str]) -> int:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    parent = int(argv[1])
    _end_with(parent)
    with os.fdopen(int(argv[0]), "rb") as file:
        told = orjson.loads(file.read())

    from gateway.app import run_worker  # noqa: PLC0415 - signals first
    from gateway.workers.link import Post, sources_from_wire  # noqa: PLC0415

    return run_worker(Post(sources=sources_from_wire(told.pop("sources")), **told))


def _end_with(parent: int) -> None:
    """The kernel ends this process when the parent ends, also when that is killed."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - of no use elsewhere

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it was too late
        sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
