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
START_S: Final = 60.0
"""For all of them to be at work, on a busy machine."""
LONGER: Final = 4
"""The siege lasts at most so many times longer, if not all kills have found a worker at work by then."""
BEGUN_BYTES: Final = 2000
"""Written down: about a hundred requests."""


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


def siege(  # noqa: C901 - one story, told from its beginning to its end
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

    files: dict[int, Path] = {}
    born_of: dict[int, int] = {}

    def begun(process: subprocess.Popen[str]) -> bool:
        file = files[born_of[process.pid]]
        return file.exists() and file.stat().st_size > BEGUN_BYTES

    def start() -> None:
        nonlocal born
        born += 1
        files[born] = folder / f"truth{born}"
        words = [url, str(files[born]), str(born), f"{seconds * (LONGER + 1) + 60:.2f}", json.dumps(amounts)]
        argv = [sys.executable, "-m", "tests.gateway.store.hammer", *words]
        running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        born_of[running[-1].pid] = born

    try:
        for _ in range(WORKERS):
            start()
        patience = time.monotonic() + START_S
        while not all(map(begun, running)) and time.monotonic() < patience:
            time.sleep(0.02)
        end = time.monotonic() + seconds
        moments = sorted(time.monotonic() + chance.random() * seconds for _ in range(kills))
        hurting = [
            (end - seconds * (len(hurts) - n) / (len(hurts) + 1), hurt) for n, hurt in enumerate(hurts)
        ]
        while time.monotonic() < end or (moments and time.monotonic() < end + seconds * LONGER):
            try:
                _look(store.overview(), amounts, outcome)
            except StoreDown:
                outcome.away += 1
            if moments and time.monotonic() >= moments[0]:
                # Only one that is at work: on a busy machine a new one needs seconds to begin.
                busy = [n for n, process in enumerate(running) if begun(process)]
                if busy:
                    moments.pop(0)
                    victim = running.pop(chance.choice(busy))
                    victim.kill()
                    victim.communicate()
                    outcome.kills += 1
                    start()
            if hurting and time.monotonic() >= hurting[0][0]:
                hurting.pop(0)[1]()
                outcome.hurts += 1
            time.sleep(0.005)
        for process in running:
            process.terminate()
        for process in running:
            process.communicate(timeout=60)
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
