"""Until when may a request take? The earlier of two limits, and no wait of it goes beyond. No clock.

    x-request-timeout        limit               its end is
    not sent                 timeouts.total_s    the backend's failure
    longer than total_s      timeouts.total_s    the backend's failure
    shorter                  the client's own    nobody's: no breaker counts it; what is left goes upstream
    no positive number       none: 400

    a wait                               ends no later than            then
    for a place (admission)              deadline, queue.timeout_s     503 queue_timeout
    for another's answer (cache)         deadline                      504
    before a retry                       ... if it would, there is no retry
    for a connection (pool)              deadline, connect_s           504; elsewhere
    for the answer, or its next piece    deadline, stream_idle_s       504, or an error event
    before a second attempt (hedging)    with the first one

All count from the request's first byte, so that waiting in one place leaves less for the next.
"""

from __future__ import annotations

import math


def asked_s(header: bytes) -> float | None:
    """The seconds that a client gives in x-request-timeout. None: it is no such number."""
    try:
        seconds = float(header)
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def place_s(timeout_s: float, waited_s: float, left_s: float) -> float:
    """How long it may still wait for a place, after it has waited before: for an earlier attempt."""
    return max(0.0, min(timeout_s - waited_s, left_s))
