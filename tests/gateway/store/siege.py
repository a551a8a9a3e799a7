"""Several real worker processes on one store, killed at random moments, while somebody looks on.

Never over: at each look settled + leased is within every limit. At the end, of each counter: all that was
used is settled, or was in the hands of a worker that was killed; where nobody was killed it is equal, to the
token.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.policy.exchange import Overview, StoreDown
from tests.gateway.store.opening import open_store

WORKERS: Final = 4


class Outcome(msgspec.Struct):
    kills: int = 0
    looks: int = 0
    over: list[str] = []
    used: int = 0
    """Tokens, by what workers wrote down."""
    used_at_most: int = 0
    """... and by what requests of killed ones may have used on top."""
    settled: int = 0
    leased: int = 0
    admitted: int = 0
    hurts: int = 0
    away: int = 0
    """Looks that found no store."""
    unclean: int = 0
    """Ended by themselves, but could not tell the store all."""


def siege(
    url: str,
    folder: Path,
    *,
    seconds: float,
    kills: int,
    amounts: dict[str, int],
    seed: int = 1,
    hurts: Sequence[Callable[[], None]] = (),
) -> Outcome:
    """`hurts`: what is done to the store, one after the other, at even distances."""
    chance = random.Random(seed)
    store = open_store(url)
    outcome = Outcome()
    running: list[subprocess.Popen[str]] = []
    born = 0
    end = time.monotonic() + seconds
    moments = sorted(time.monotonic() + 0.8 + chance.random() * (seconds - 0.8) for _ in range(kills))

    hurting = [(end - seconds * (len(hurts) - n) / (len(hurts) + 1), hurt) for n, hurt in enumerate(hurts)]

    def start() -> None:
        nonlocal born
        born += 1
        left_s = max(0.2, end - time.monotonic())
        words = [url, str(folder / f"truth{born}"), str(born), f"{left_s:.2f}", json.dumps(amounts)]
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.gateway.store.hammer", *words],
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    try:
        for _ in range(WORKERS):
            start()
        while time.monotonic() < end:
            try:
                _look(store.overview(), amounts, outcome)
            except StoreDown:
                outcome.away += 1
            if moments and time.monotonic() >= moments[0]:
                moments.pop(0)
                victim = running.pop(chance.randrange(len(running)))
                victim.kill()
                victim.communicate()
                outcome.kills += 1
                start()
            if hurting and time.monotonic() >= hurting[0][0]:
                hurting.pop(0)[1]()
                outcome.hurts += 1
            time.sleep(0.005)
        for process in running:
            process.communicate(timeout=30)
            outcome.unclean += process.returncode != 0
    finally:
        for process in running:
            process.kill()
            process.wait()
    seen = store.overview("tokens_per_day")
    _look(store.overview(), amounts, outcome)
    store.close()
    outcome.settled, outcome.leased = sum(one.settled for one in seen), sum(one.leased for one in seen)
    for file in folder.glob("truth*"):
        _count(file.read_text(), outcome)
    return outcome


def _look(seen: Sequence[Overview], amounts: dict[str, int], outcome: Outcome) -> None:
    outcome.looks += 1
    for one in seen:
        limit = amounts[one.counter.partition("|")[0]]
        if one.settled + one.leased > limit:
            outcome.over.append(f"{one.counter} {one.period}: {one.settled} + {one.leased} > {limit}")


def _count(truth: str, outcome: Outcome) -> None:
    open_tokens = 0
    for words in map(str.split, truth.splitlines()):
        if words[0] == "a":
            open_tokens += int(words[1])
        elif words[0] == "r":
            open_tokens -= int(words[1])
        elif words[0] == "s":
            open_tokens -= int(words[1])
            outcome.used += int(words[2])
            outcome.admitted += 1
        elif words[0] == "end":
            outcome.unclean += words[1] != "1"
    outcome.used_at_most += open_tokens
