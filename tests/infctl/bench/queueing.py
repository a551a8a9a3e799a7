"""A queue in virtual time, whose answers are known: Poisson arrivals, exponential or constant service."""

from __future__ import annotations

import heapq
import math

from infctl.bench.chance import Chance
from infctl.bench.record import Record

WARM = 40


def log(
    rate: float, seed: int, *, requests: int, service_s: float, servers: int = 1, constant: bool = False
) -> list[Record]:
    """The log of an open loop of `requests`, WARM before them."""
    chance = Chance(seed, "queue", f"{rate:g}")
    free = [0.0] * servers
    now, found = 0.0, []
    for index in range(requests + WARM):
        now += chance.exponential(1 / rate)
        began = max(now, heapq.heappop(free))
        end = began + (service_s if constant else chance.exponential(service_s))
        heapq.heappush(free, end)
        due, ended = int(now * 1e6), int(end * 1e6)
        found.append(
            Record(
                index=index,
                due_us=due,
                began_us=due,
                sent_us=due,
                end_us=ended,
                outcome="ok",
                piece_us=[ended],
                pieces="t",
                tokens_in=8,
                tokens_out=1,
            )
        )
    return found


def greatest(service_s: float, slo_s: float, share: float = 0.95) -> float:
    """Of M/M/1, whose time in the system is exponential with the rate mu - lambda."""
    return 1 / service_s + math.log(1 - share) / slo_s
