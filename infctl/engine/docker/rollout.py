"""A container that serves, replaced: the old one comes back if the new one does not become ready.

Stop, keep aside, create, start, wait; the old one is removed last.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from infctl.engine.docker.hands import Hands
from infctl.engine.docker.swap import OLD, Swap
from infctl.engine.model import Event


def replace(hands: Hands, swap: Swap) -> Iterator[Event]:
    """At the end `swap.container` runs under its name and is ready.

    Raises what went wrong, after the old one runs again.
    """
    service, aside = swap.container.service, f"{swap.name}{OLD}"
    hands.stop(swap.old, swap.container.stop_grace_s)
    yield Event(service, "stopped")
    hands.rename(swap.old, aside)
    new = ""
    try:
        new = hands.create(swap.project, swap.container, number=swap.number)
        hands.start(new)
        yield Event(service, "started")
        yield from hands.wait_healthy(new, service, time.monotonic() + swap.start_s)
    except BaseException:
        if new:
            hands.stop(new, 0)
            hands.remove(new, force=True)
        hands.rename(swap.old, swap.name)
        hands.start(swap.old)
        raise
    hands.remove(swap.old, force=True)
