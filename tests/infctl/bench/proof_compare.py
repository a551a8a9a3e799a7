"""Proof: two runs of one server do not differ in 90 of 100 cases or more, 5 % slower is found in 80 of 100.

`make proof-compare`: a hundred of each in virtual time over recorded jitter, then five real pairs of each
against a stub on this machine. The last line is the figure; exit code 1 where it falls short.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter

from infctl.bench import session
from infctl.bench.compare import Side, compare
from infctl.bench.verdict import INVALID
from tests.infctl.bench.conftest import Stub
from tests.infctl.bench.virtual import config, side

REQUESTS = 60
CORES = sorted(os.sched_getaffinity(0))
TRIES = 4
"""A pair with a run that its own verdict calls invalid is none: it is measured again, at most so often."""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def virtual(tries: int, slowed: float) -> Counter[str]:
    return Counter(
        compare([(side(seed, "a"), side(seed, "b", slowed=slowed))]).grade
        for seed in range(1000, 1000 + tries)
    )


def real(url: str, mode: str, seed: int) -> tuple[Side, str]:
    """A run, and its verdict with the reasons."""
    given = config(model=mode, requests=REQUESTS, warmup="4", cooldown="4", seed=seed)
    found = session.measure(given, session.target(url, None))
    told = ", ".join([found.verdict.grade, *(reason.text for reason in found.verdict.reasons)])
    return Side(given, found.verdict.grade, found.figures, found.records), told


def apart(server: int) -> None:
    """A core for the server, the others for us: two that wait for one core measure each other."""
    if len(CORES) > 1:
        os.sched_setaffinity(server, CORES[:1])
        os.sched_setaffinity(0, CORES[1:])


def pairs(count: int, mode: str) -> Counter[str]:
    stub = Stub()
    apart(stub.process.pid)
    try:
        grades: Counter[str] = Counter()
        for seed in range(count):
            for turn in range(1, TRIES + 1):
                (a, a_said), (b, b_said) = real(stub.url, "steady", seed), real(stub.url, mode, seed)
                valid = INVALID not in {a.grade, b.grade}
                found = compare([(a, b)])
                if valid or turn == TRIES:
                    break
                _say(f"  pair {seed}, try {turn}: A {a_said}; B {b_said}")
            grades[found.grade] += 1
            _say(f"  pair {seed}: {found.grade}; A {a_said}; B {b_said}")
        return grades
    finally:
        stub.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    same, slower = virtual(asked.tries, 1.0), virtual(asked.tries, 1.05)
    quiet = same["same"] + same["unclear"]
    _say(f"virtual, same server: {dict(same)}\nvirtual, 5 % slower: {dict(slower)}")
    real_same, real_slower = pairs(asked.pairs, "steady"), pairs(asked.pairs, "slower")
    _say(f"real, same server: {dict(real_same)}\nreal, 5 % slower: {dict(real_slower)}")
    real_quiet = real_same["same"] + real_same["unclear"]
    good = (
        quiet >= 0.9 * asked.tries
        and slower["worse"] >= 0.8 * asked.tries
        and real_quiet >= 0.8 * asked.pairs
        and real_slower["worse"] >= 0.8 * asked.pairs
    )
    found = slower["worse"]
    _say(
        f"proof-compare: no difference {quiet} of {asked.tries}, 5 % slower found {found} of {asked.tries};"
        f" real pairs {real_quiet} and {real_slower['worse']} of {asked.pairs}{'' if good else ' - SHORT'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
