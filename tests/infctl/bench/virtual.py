"""Runs in virtual time: latencies drawn from what a real vLLM took, slowed by a known share.

`jitter.json` was recorded from SmolLM2 on two cores, four requests at once: for each request in order its
time to first token and its time per token, as shares of their medians. Blocks are drawn, so that what was
slow together stays together.
"""

from __future__ import annotations

import json
from pathlib import Path

from infctl.bench import results
from infctl.bench.chance import Chance
from infctl.bench.compare import Side
from infctl.bench.record import Record
from infctl.bench.results import Config

JITTER: list[list[float]] = json.loads(Path(__file__).with_name("jitter.json").read_text("ascii"))
FIRST_US, TOKEN_US, TOKENS = 886_000, 70_000, 16
"""The medians of that record."""
BLOCK = 12


def config(**more: object) -> Config:
    settings = {
        "model": "chat",
        "endpoint": "chat",
        "lengths_in": "48",
        "lengths_out": str(TOKENS),
        "arrivals": "closed",
        "rate": None,
        "concurrency": 4,
        "requests": 200,
        "duration_s": None,
        "warmup": "0",
        "cooldown": "0",
        "seed": 1,
    }
    return Config(**(settings | more))  # type: ignore[arg-type]


def side(
    seed: int, name: str, *, slowed: float = 1.0, requests: int = 400, failed: int = 0, **more: object
) -> Side:
    """A closed loop of four, each taking up its next request when the one before has ended."""
    chance = Chance(seed, "virtual", name)
    drawn: list[list[float]] = []
    while len(drawn) < requests:
        start = chance.below(len(JITTER))
        drawn += [JITTER[(start + at) % len(JITTER)] for at in range(BLOCK)]
    places = [0, 0, 0, 0]
    log = []
    for index in range(requests):
        place = places.index(min(places))
        began = places[place]
        first = began + int(FIRST_US * drawn[index][0] * slowed)
        gap = TOKEN_US * drawn[index][1] * slowed
        pieces = [first + int(gap * at) for at in range(TOKENS)]
        places[place] = pieces[-1] + 100
        broken = index < failed
        log.append(
            Record(
                index=index,
                due_us=None,
                began_us=began,
                sent_us=began,
                end_us=places[place],
                outcome="truncated" if broken else "ok",
                piece_us=pieces,
                pieces="t" * TOKENS,
                tokens_in=50,
                tokens_out=TOKENS,
            )
        )
    given = config(requests=requests, **more)
    return Side(given, "valid", results.again(given, log), log)
