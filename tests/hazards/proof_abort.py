"""`make proof-abort`: 1,000 clients leave in each phase of a request, plain and streaming.

At the backend the connection is closed within 1 s of that, no call is sent for who has left, each is a 499 in
the log and in the metrics, and no place is held. Exit code 0 only if all of that is so.

    python -m tests.hazards.proof_abort [--count 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.gateway.process import Gateway
from tests.hazards.aborts import LIMIT_S, Outcome, leave_in_all


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="proof_abort")
    parser.add_argument("--count", type=int, default=1000)
    count = parser.parse_args(argv).count
    started: list[Gateway] = []
    with tempfile.TemporaryDirectory() as folder:

        def start(config: dict[str, Any]) -> Gateway:
            started.append(Gateway(Path(folder), config))
            return started[0]

        try:
            outcome = asyncio.run(leave_in_all(start, count))
        finally:
            for gateway in started:
                gateway.stop()
    for tally in outcome.tallies:
        kind = "stream" if tally.stream else "plain"
        sys.stdout.write(
            f"{tally.phase:12} {kind:7} {tally.count:5} left, slowest {tally.slowest_s:.3f} s,"
            f" {tally.late} late, {tally.stray} stray\n"
        )
    sys.stdout.write(figure(outcome) + "\n")
    return 0 if outcome.ok else 1


def figure(outcome: Outcome) -> str:
    slowest_s = max(tally.slowest_s for tally in outcome.tallies)
    late = sum(tally.late for tally in outcome.tallies)
    stray = sum(tally.stray for tally in outcome.tallies)
    verdict = "proof-abort: " + ("ok" if outcome.ok else "SHORT")
    return (
        f"{verdict}: {outcome.count} clients left, {late} seen later than {LIMIT_S:g} s by the backend"
        f" (slowest {slowest_s:.3f} s), {stray} calls for nobody; {outcome.logged} logged and"
        f" {outcome.counted} counted as 499, {outcome.in_flight} places held, {outcome.failures} held"
        " against a backend"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
