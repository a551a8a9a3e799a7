"""`python -m gateway` that also tells its tasks: at SIGUSR1 it writes them to the file GATEWAY_TASKS names.

A line a task that has not ended: its coroutine. Nothing else about the gateway is different.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from gateway.__main__ import main


def tell(*_: object) -> None:
    file = Path(os.environ["GATEWAY_TASKS"])
    names = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())
    beside = file.with_suffix(".new")
    beside.write_text("".join(f"{name}\n" for name in names))
    beside.replace(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    sys.exit(main(sys.argv[1:]))
