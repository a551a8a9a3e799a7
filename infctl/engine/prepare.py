"""What is done once before services start, such as unpacking weights."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from infctl.engine import causes
from infctl.engine.model import Event
from infctl.stack import Preparation


def run(steps: Iterable[Preparation], logs: Path) -> Iterator[Event]:
    """Run those whose result is not there yet, one after the other, each with a log of its own.

    Raises EngineError with the last lines of the one that failed.
    """
    for step in steps:
        if Path(step.creates).exists():
            continue
        yield Event(step.name, "started", "preparing")
        began = time.monotonic()
        with open(logs / f"{step.name}.log", "ab", opener=_private) as out:
            done = subprocess.run(step.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)
        if done.returncode != 0 or not Path(step.creates).exists():
            why = f"exit code {done.returncode}" if done.returncode else f"{step.creates} was not made"
            raise causes.failure(logs, step.name, why, "could not be prepared")
        yield Event(step.name, "ready", "prepared", time.monotonic() - began)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
