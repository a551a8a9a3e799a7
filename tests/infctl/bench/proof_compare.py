"""Proof: two runs of one server do not differ in 90 of 100 cases or more, 5 % slower is found in 80 of 100.

`make proof-compare`: a hundred of each in virtual time over recorded jitter, then five real pairs of each
against a stub on this machine. The last line is the figure; exit code 1 where it falls short.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from infctl.bench import session
from infctl.bench.compare import Side, compare
from tests.infctl.bench.conftest import Stub
from tests.infctl.bench.virtual import config, side

REQUESTS = 60


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def virtual(tries: int, slowed: float) -> Counter[str]:
    return Counter(
        compare([(side(seed, "a"), side(seed, "b", slowed=slowed))]).grade
        for seed in range(1000, 1000 + tries)
    )


def real(url: str, mode: str, seed: int) -> Side:
    given = config(model=mode, requests=REQUESTS, warmup="4", cooldown="4", seed=seed)
    found = session.measure(given, session.target(url, None))
    return Side(given, found.verdict.grade, found.figures, found.records)


def pairs(count: int, mode: str) -> Counter[str]:
    stub = Stub()
    try:
        grades: Counter[str] = Counter()
        for seed in range(count):
            found = compare([(real(stub.url, "steady", seed), real(stub.url, mode, seed))])
            grades[found.grade] += 1
            if found.reasons:
                _say(f"  pair {seed}: {'; '.join(found.reasons)}")
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
