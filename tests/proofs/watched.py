"""`python -m gateway` that also tells its tasks: at SIGUSR1 it writes them to the file GATEWAY_TASKS names.

A line a task that has not ended: its coroutine. Nothing else about the gateway is different.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateway.__main__ import main
from gateway.net.steps import Steps


def tell(*_: object) -> None:
    file = Path(os.environ["GATEWAY_TASKS"])
    coros: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
    coros = [each.coro if isinstance(each, Steps) else each for each in coros]  # a connection's, or none now
    names = sorted(each.__qualname__ for each in coros if each is not None)
    beside = file.with_suffix(".new")
    beside.write_text("".join(f"{name}\n" for name in names))
    beside.replace(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    sys.exit(main(sys.argv[1:]))
