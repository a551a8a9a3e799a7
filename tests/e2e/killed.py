"""Changes a platform as `Rolling.up` does, and is gone after a step.

    python -m tests.e2e.killed FOLDER STEP MARK

STEP is one of a replace; the process kills itself with SIGKILL when it is done for the first time. MARK is of
the platform's own names.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infctl.engine.docker.engine import DockerEngine
from infctl.engine.docker.rollout_aside import Aside
from infctl.engine.docker.rollout_gateway import Turn
from infctl.engine.model import Event
from tests.docker.hurried import hurried, own_names
from tests.e2e.rolling import written


def dying(do: Callable[..., Iterator[Event]], last: str) -> Callable[..., Iterator[Event]]:
    def stepping(self: Any, step: str, **more: Any) -> Iterator[Event]:
        yield from do(self, step, **more)
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    return stepping


def main(folder: str, step: str, mark: str) -> None:
    for way in (Aside, Turn):
        way._do = dying(way._do, step)  # type: ignore[method-assign, assignment, arg-type]
    with hurried(), own_names(mark):
        project, stack = written(Path(folder))
    engine = DockerEngine(project.layout)
    with engine.lock("a test that is killed"):
        for _ in engine.apply(stack, {}):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
