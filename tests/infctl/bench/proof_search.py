"""Proof: a search's 95 % interval holds the answer in 90 of 100 cases or more, on a queue that is known.

`make proof-search`: a hundred searches in virtual time on M/M/1, then one against a server of two places on
this machine, which serves 40 requests a second. The last line is the figure; exit code 1 where it falls
short.
"""

from __future__ import annotations

import argparse
import math
import sys

import msgspec

from infctl.bench import search, session
from infctl.bench.search import Asked, Found, Trial, Try
from infctl.bench.verdict import INVALID
from tests.infctl.bench import queueing
from tests.infctl.bench.conftest import Stub
from tests.infctl.bench.test_search import mm1, searched
from tests.infctl.bench.virtual import config

REQUESTS = 400
SERVICE_S, SLO_S = 0.01, 0.1
CAPACITY = 40.0
"""Of the stub's `two_places`."""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def virtual(tries: int) -> int:
    """How many intervals held it."""
    truth = queueing.greatest(SERVICE_S, SLO_S)
    held, runs, wide, off = 0, 0, 0.0, 0.0
    for seed in range(5000, 5000 + tries):
        found, trials = searched(mm1(SERVICE_S, SLO_S, REQUESTS, seed), Asked(10))
        if found.rate is None or found.low is None or found.high is None:
            continue
        held += found.low <= truth <= found.high
        runs += len(trials)
        wide += found.high / found.low - 1
        off += math.log(found.rate / truth)
    _say(
        f"virtual: {truth:.4g} a second is the answer; {held} of {tries} intervals hold it,"
        f" {wide / tries:.0%} wide; the rates found are {off / tries:+.1%} off in the mean,"
        f" after {runs / tries:.1f} runs"
    )
    return held


def real() -> Found:
    stub = Stub()
    try:
        trials: list[Trial] = []
        given = config(
            model="two_places",
            lengths_out="4",
            arrivals="poisson",
            rate=1.0,
            concurrency=None,
            requests=REQUESTS,
            warmup="40",
            slo_ms={"e2e": 500.0},
        )
        while isinstance(step := search.following(trials, Asked(10, repeats=2)), Try):
            one = msgspec.structs.replace(given, rate=step.rate, seed=len(trials))
            measured = session.measure(one, session.target(stub.url, None))
            valid = measured.verdict.grade != INVALID
            trials.append(search.trial(one, measured.records, measured.figures.window, valid=valid))
            said = ", ".join(reason.text for reason in measured.verdict.reasons)
            kept = f"{trials[-1].good} of {len(trials[-1].kept)} kept"
            _say(f"  {step.rate:g} a second ({step.why}): {kept}; {said}")
        return step
    finally:
        stub.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--virtual", action="store_true", help="without the server on this machine")
    asked = parser.parse_args()
    held = virtual(asked.tries)
    found = None if asked.virtual else real()
    good = held >= 0.9 * asked.tries
    told = ""
    if found is not None:
        # Waits of 0.45 s come a little below what it can serve; and a run of ten seconds hardly sees an
        # overload of less than a tenth.
        near = found.rate is not None and 0.75 * CAPACITY <= found.rate <= 1.1 * CAPACITY
        good = good and near
        between = f"{found.low or 0:.3g} to {found.high or 0:.3g}"
        told = f"; a real server of {CAPACITY:g} a second was found to keep {found.rate}, {between}"
    _say(f"search: {held} of {asked.tries} intervals hold the answer{told}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
