"""A container that serves, replaced or taken away: the old one comes back if the new one does not work.

replace   stop, keep aside, create, start, wait; the old one is removed last
retire    stop, remove
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from infctl.engine.docker import telling
from infctl.engine.docker.hands import Hands
from infctl.engine.docker.observed import Seen
from infctl.engine.docker.swap import OLD, Swap
from infctl.engine.docker.watch import Failed
from infctl.engine.model import Event
from infctl.stack import Stack


def replace(hands: Hands, swap: Swap) -> Iterator[Event]:
    """At the end `swap.container` runs under its name and is ready.

    Raises what went wrong, after the old one runs again.
    """
    service, aside = swap.container.service, f"{swap.name}{OLD}"
    hands.stop(swap.old, swap.container.stop_grace_s)
    yield Event(service, "stopped")
    hands.rename(swap.old, aside)
    try:
        new = hands.create(swap.project, swap.container, number=swap.number)
        hands.start(new)
        yield Event(service, "started")
        yield from hands.wait_healthy(new, service, time.monotonic() + swap.start_s)
    except Failed as failed:
        told = telling.failure(hands, failed, service)
        _back(hands, swap)
        raise told from None
    except BaseException:  # Ctrl-C and a time-out of others too
        _back(hands, swap)
        raise
    hands.remove(swap.old, force=True)


def _back(hands: Hands, swap: Swap) -> None:
    """The old one under its name, and running."""
    new = hands.find(swap.name)
    if new is not None and new != swap.old:
        hands.remove(new, force=True)
    hands.rename(swap.old, swap.name)
    hands.start(swap.old)


def retire(hands: Hands, stack: Stack, seen: Seen) -> Iterator[Event]:
    """One that is no longer wanted. `stack`: what is wanted."""
    del stack
    timeout = seen.fields.stop_timeout
    hands.stop(seen.id, timeout)
    hands.remove(seen.id, force=True)
    yield from ()
