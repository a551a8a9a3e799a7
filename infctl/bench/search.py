"""The greatest rate that keeps the SLOs. Pure: from the trials so far to the next one, or to the answer.

`following` knows nothing but the trials. A rate is judged by all its trials together; `low` is the greatest
that is kept below `high`, the least that is not:

1. no rate failed yet: twice the greatest
2. no rate below `high` is kept: half of `high`
3. `high` and `low` lie further apart than the precision: their geometric mean
4. one of the two has fewer trials than are wanted: that one again (and where this turns it, from 1 on)
5. else it is `low`

A run that is invalid says nothing, and that rate is tried again; where ATTEMPTS of a rate are, and none is
valid, the client is taken for the limit, and nothing is said of that rate and greater ones.

A rate is kept where KEPT_SHARE of the requests of its trials kept every SLO. In a trial that fell behind its
rate nobody did: what waited would have waited longer in a longer trial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from infctl.bench.chance import Chance
from infctl.bench.compare import student
from infctl.bench.figures import Window, keeps, origin_us
from infctl.bench.record import Record
from infctl.bench.results import Config
from infctl.bench.sweep import KEPT_SHARE

RESAMPLES = 1000
ATTEMPTS = 3
HALVINGS = 10
"""Below the first rate, before it is said that no rate keeps the SLOs."""
_BEHIND_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    first: float
    most: float = math.inf
    precision: float = 0.1
    """0.1: two rates that lie 10 % apart are near enough."""
    repeats: int = 4
    """Trials of each of the two rates at the edge."""
    trials: int = 40
    """At most, of all rates together."""


@dataclass(frozen=True, slots=True)
class Trial:
    rate: float
    kept: tuple[bool, ...]
    """Of each request that counts, in the order in which they were due: every SLO."""
    behind: bool = False
    valid: bool = True
    """False: the client was the limit, or nothing was answered."""
    block: int = 1
    """Neighbouring requests that are not independent."""

    @property
    def good(self) -> int:
        return 0 if self.behind else sum(self.kept)


@dataclass(frozen=True, slots=True)
class Try:
    rate: float
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    rate: float | None
    """The greatest that is kept; None: none is."""
    low: float | None
    high: float | None
    """The 95 % interval; None: there is no bound."""
    why: str
    """edge, none, most, client, trials."""


def following(trials: Sequence[Trial], asked: Asked) -> Try | Found:
    if not trials:
        return Try(asked.first, "the first")
    told = _rates(trials)
    lost = [trial.rate for trial in trials if not trial.valid and trial.rate not in told]
    client = min((rate for rate in lost if lost.count(rate) >= ATTEMPTS), default=math.inf)
    high = min((rate for rate, kept in told.items() if not kept), default=None)
    low = max((rate for rate, kept in told.items() if kept and (high is None or rate < high)), default=None)
    if lost and trials[-1].rate == lost[-1] < client:
        step: Try | Found = Try(lost[-1], f"{lost[-1]:g} again: that run was invalid")
    elif high is None:
        step = _doubled(low, client, asked)
    elif low is None:
        least = asked.first / 2**HALVINGS
        none = Found(None, None, high, "none")
        step = none if high <= least else Try(_short(high / 2), f"{high:g} was not kept")
    else:
        step = _closer(trials, low, high, asked)
    if isinstance(step, Found) or (step.rate < client and len(trials) < asked.trials):
        return step
    why = "client" if step.rate >= client else "trials"
    if low is None or high is None:
        return Found(low, low, high, why)
    return Found(low, *interval(trials, low, high), why)


def _doubled(low: float | None, client: float, asked: Asked) -> Try | Found:
    if low is None:
        return Found(None, None, None, "client")
    if low >= asked.most:
        return Found(low, low, None, "most")
    if low * 2 >= client:
        return Found(low, low, None, "client")
    return Try(min(low * 2, asked.most), "all were kept")


def _closer(trials: Sequence[Trial], low: float, high: float, asked: Asked) -> Try | Found:
    between = _short(math.sqrt(low * high))
    if high / low > 1 + asked.precision and low < between < high:
        return Try(between, f"between {low:g} and {high:g}")
    again = min((low, high), key=lambda rate: _count(trials, rate))
    if _count(trials, again) < asked.repeats:
        return Try(again, f"{again:g} again: the edge")
    return Found(low, *interval(trials, low, high), "edge")


def _rates(trials: Sequence[Trial]) -> dict[float, bool]:
    """Rate -> whether it is kept, by its valid trials together."""
    good: dict[float, int] = {}
    counted: dict[float, int] = {}
    for trial in trials:
        if trial.valid and trial.kept:
            good[trial.rate] = good.get(trial.rate, 0) + trial.good
            counted[trial.rate] = counted.get(trial.rate, 0) + len(trial.kept)
    return {rate: good[rate] >= KEPT_SHARE * counted[rate] for rate in counted}


def _count(trials: Sequence[Trial], rate: float) -> int:
    return sum(trial.rate == rate for trial in trials if trial.valid)


def _short(rate: float) -> float:
    """Four digits: a person reads it."""
    return float(f"{rate:.4g}")


def interval(trials: Sequence[Trial], low: float, high: float, seed: int = 0) -> tuple[float, float]:
    """Where the share of kept requests crosses KEPT_SHARE, in 95 of 100 resamples.

    A resample draws of each rate as many trials as it had, and of each drawn trial blocks of neighbouring
    requests. Its shares are made to fall with the rate (pool adjacent violators), and the crossing is read
    between two rates, even in their logarithm. Between `low` and `high` nothing was measured: the interval
    is never narrower than they are apart.
    """
    drawn = [_Drawn(trial) for trial in trials if trial.valid and trial.kept]
    by_rate: dict[float, list[_Drawn]] = {}
    for one in drawn:
        by_rate.setdefault(one.rate, []).append(one)
    rates = sorted(by_rate)
    chance = Chance(seed, "search")
    found = []
    for _ in range(RESAMPLES):
        shares, weights = [], []
        for rate in rates:
            there = by_rate[rate]
            picked = [there[chance.below(len(there))] for _ in there] if len(there) > 1 else there
            shares.append(sum(one.share(chance) * one.count for one in picked))
            weights.append(sum(one.count for one in picked))
        found.append(_crossing(rates, _falling(shares, weights)))
    found.sort()
    middle = _crossing(
        rates,
        _falling(
            [sum(one.good for one in by_rate[rate]) for rate in rates],
            [sum(one.count for one in by_rate[rate]) for rate in rates],
        ),
    )
    fewest = min(len(by_rate[low]), len(by_rate[high]))
    wider = _student_factor(len(by_rate[low]) + len(by_rate[high]) - 2, fewest)
    below, above = found[int(0.025 * RESAMPLES)], found[int(0.975 * RESAMPLES) - 1]
    return (
        min(low, middle * (below / middle) ** wider),
        max(high, middle * (above / middle) ** wider),
    )


def _student_factor(freedom: int, fewest: int) -> float:
    """How much wider few trials make it: Student's quantile to the normal one, and a resample's spread of so
    few, which is too small by (n - 1) / n.
    """
    if fewest < 2 or freedom < 1:
        return 1.0
    return student(0.975, freedom) / 1.959964 * math.sqrt(fewest / (fewest - 1))


class _Drawn:
    """One trial; `share` of a sample of its blocks, in a circle."""

    def __init__(self, trial: Trial) -> None:
        kept, block = trial.kept, max(1, min(trial.block, len(trial.kept) // 8))
        sums = list(accumulate([*kept, *kept[:block]], initial=0))
        self._sums: list[int] = [after - before for before, after in zip(sums, sums[block:], strict=False)]
        self._block = block
        self.rate, self.count, self.good = trial.rate, len(kept), trial.good
        self._fixed: float | None = 0.0 if trial.good == 0 else 1.0 if trial.good == len(kept) else None

    def share(self, chance: Chance) -> float:
        if self._fixed is not None:
            return self._fixed
        blocks = -(-self.count // self._block)
        sums, count = self._sums, self.count
        good = sum(sums[chance.below(count)] for _ in range(blocks))
        return good / (blocks * self._block)


def _falling(good: Sequence[float], counted: Sequence[float]) -> list[float]:
    """The nearest shares that never rise; pool adjacent violators (Ayer and others, 1955)."""
    pools: list[list[float]] = []
    for added, weight in zip(good, counted, strict=True):
        pools.append([added, weight, 1])
        while len(pools) > 1 and pools[-1][0] * pools[-2][1] > pools[-2][0] * pools[-1][1]:
            last = pools.pop()
            pools[-1] = [before + more for before, more in zip(pools[-1], last, strict=True)]
    return [pool[0] / pool[1] for pool in pools for _ in range(int(pool[2]))]


def _crossing(rates: Sequence[float], shares: Sequence[float]) -> float:
    if shares[0] < KEPT_SHARE:
        return rates[0]
    for (before, above), (after, below) in pairwise(zip(rates, shares, strict=True)):
        if below < KEPT_SHARE:
            return before * math.pow(after / before, (above - KEPT_SHARE) / (above - below))
    return rates[-1]


# From a log to a trial


def trial(config: Config, log: Sequence[Record], window: Window, *, valid: bool) -> Trial:
    """Of one run of an open loop."""
    slo = {name: limit / 1e3 for name, limit in config.slo_ms.items()}
    counted = sorted((r for r in log if window.counts(r) and r.outcome != "aborted"), key=origin_us)
    grew, together = backlog(counted, log)
    return Trial(
        rate=config.rate or 0.0,
        kept=tuple(record.ok and keeps(record, slo) for record in counted),
        behind=grew > max(_BEHIND_SHARE * len(counted), together + 2 * math.sqrt(together)),
        valid=valid and bool(counted),
        block=max(math.isqrt(len(counted)), math.ceil(together)),
    )


def backlog(counted: Sequence[Record], log: Sequence[Record]) -> tuple[int, float]:
    """While the counted ones became due: by how many requests those under way grew, and their mean.

    At a rate that is served the first is about 0 (from an idle server: about the mean); beyond it nearly
    twice the mean, as they grow for as long as it goes on.
    """
    if len(counted) < 2:
        return 0, 0.0
    start, end = origin_us(counted[0]), origin_us(counted[-1])
    ended = sum(start <= record.end_us < end for record in log)
    busy = sum(max(0, min(record.end_us, end) - max(origin_us(record), start)) for record in log)
    return len(counted) - ended, busy / max(end - start, 1)
