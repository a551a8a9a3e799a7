"""Is B worse than A? Two logs, or pairs of logs taken in turns -> a difference with its interval. Pure.

What is compared of each metric is its geometric mean: a server slower by 5 % moves it by 5 %, and one stray
request hardly. Intervals come from resampling blocks of neighbouring requests, which share an engine's steps
and are not independent; of pairs, the pairs themselves are drawn too, and few pairs widen the interval as
Student's distribution does. All intervals together hold with LEVEL (Bonferroni).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import Any

from infctl.bench import numbers
from infctl.bench.chance import Chance
from infctl.bench.figures import DEFINITIONS, Figures, origin_us
from infctl.bench.record import Record
from infctl.bench.results import Config
from infctl.bench.verdict import INVALID

LEVEL = 0.95
MARGIN = 0.02
RESAMPLES = 2000
LEAST = 30
"""Requests of each side; fewer cannot be compared."""
P95_LEAST, P95_RESAMPLES = 100, 400
"""With fewer than five values above it a p95 has no interval that resampling could find."""
TOKENS_SHARE = 0.02
"""Mean tokens of a request may differ by so much."""
FAILED_SHARE = 0.01
_CHANCE_Z = 3.0
WORSE, BETTER, SAME, UNCLEAR, INCOMPARABLE = "worse", "better", "same", "unclear", "incomparable"


@dataclass(frozen=True, slots=True)
class Side:
    """One run, with what is compared of it."""

    config: Config
    grade: str
    """Of its verdict."""
    figures: Figures
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Difference:
    """B beside A; `change` 0.05: B takes 5 % longer."""

    metric: str
    a_s: float
    b_s: float
    """Geometric means."""
    change: float
    low: float
    high: float
    effect: float
    """How often a request of B is slower than one of A, of all pairs of them: 0.5 is no difference."""
    a_p95_s: float
    b_p95_s: float
    p95_change: float
    p95: tuple[float, float] | None
    """Its own interval, with LEVEL; it decides nothing. None: of fewer than P95_LEAST requests."""
    grade: str


@dataclass(frozen=True, slots=True)
class Comparison:
    grade: str
    reasons: tuple[str, ...]
    """Why they cannot be compared; or what to know although they were."""
    differences: tuple[Difference, ...]
    margin: float
    pairs: int


def metrics_of(config: Config) -> tuple[str, ...]:
    """What decides: of an open loop, latencies from schedule."""
    return ("ttft", "tpot", "e2e") if config.arrivals == "closed" else ("ttft_due", "tpot", "e2e_due")


def compare(pairs: Sequence[tuple[Side, Side]], *, margin: float = MARGIN, seed: int = 0) -> Comparison:
    """One pair: two runs, each on its own. Several: taken in turns, each B beside its A."""
    hindered = tuple(dict.fromkeys(reason for a, b in pairs for reason in _hindrances(a, b)))
    if hindered:
        return Comparison(INCOMPARABLE, hindered, (), margin, len(pairs))
    names = metrics_of(pairs[0][0].config)
    columns = {name: [(_values(a, name), _values(b, name)) for a, b in pairs] for name in names}
    columns = {name: found for name, found in columns.items() if all(a and b for a, b in found)}
    differences = tuple(
        _difference(name, found, pairs, margin, Chance(seed, "bootstrap", name), len(columns))
        for name, found in columns.items()
    )
    return Comparison(_together(differences), _remarks(pairs), differences, margin, len(pairs))


def _together(differences: Sequence[Difference]) -> str:
    grades = {difference.grade for difference in differences}
    for grade in (WORSE, UNCLEAR, BETTER):
        if grade in grades:
            return grade
    return SAME if grades else INCOMPARABLE


def _values(side: Side, metric: str) -> list[float]:
    """In the order in which they were asked."""
    of, window = DEFINITIONS[metric].of, side.figures.window
    counted = sorted((r for r in side.records if r.ok and window.counts(r)), key=origin_us)
    return [value for record in counted if (value := of(record)) is not None and value > 0]


# Can they be compared?


def _hindrances(a: Side, b: Side) -> list[str]:
    told = [
        f"{name} is of a run that is invalid" for name, side in (("A", a), ("B", b)) if side.grade == INVALID
    ]
    mine, theirs = a.config.population(), b.config.population()
    told += [
        f"other load: {name} is {_shown(mine[name])} in A and {_shown(theirs[name])} in B"
        for name in mine
        if mine[name] != theirs[name]
    ]
    told += [
        f"{name} has only {side.figures.ok} requests that count and ended ok; at least {LEAST} are needed"
        for name, side in (("A", a), ("B", b))
        if side.figures.ok < LEAST
    ]
    return told or [*_tokens(a, b), *_failures(a.figures, b.figures)]


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value}"


def _tokens(a: Side, b: Side) -> list[str]:
    told = []
    for name in ("in", "out"):
        mine, theirs = _counts(a, name), _counts(b, name)
        if not mine or not theirs:
            continue
        apart = abs(numbers.mean(mine) - numbers.mean(theirs))
        # Drawn lengths differ by chance.
        chance = math.sqrt(
            numbers.deviation(mine) ** 2 / len(mine) + numbers.deviation(theirs) ** 2 / len(theirs)
        )
        if apart > max(TOKENS_SHARE * numbers.mean(mine), _CHANCE_Z * chance):
            told.append(
                f"other populations: {numbers.mean(mine):.1f} tokens {name} a request in A, "
                f"{numbers.mean(theirs):.1f} in B"
            )
    return told


def _counts(side: Side, name: str) -> list[int]:
    window = side.figures.window
    counted = (record for record in side.records if record.ok and window.counts(record))
    found = (record.tokens_in if name == "in" else record.tokens_out for record in counted)
    return [tokens for tokens in found if tokens is not None]


def _failures(a: Figures, b: Figures) -> list[str]:
    mine, theirs = a.failed / a.counted, b.failed / b.counted
    both = (a.failed + b.failed) / (a.counted + b.counted)
    wide = math.sqrt(both * (1 - both) * (1 / a.counted + 1 / b.counted)) or 1.0
    if abs(mine - theirs) > FAILED_SHARE and abs(mine - theirs) / wide > _CHANCE_Z:
        return [f"other failures: {mine:.1%} of A failed ({_classes(a)}), {theirs:.1%} of B ({_classes(b)})"]
    return []


def _classes(figures: Figures) -> str:
    return ", ".join(f"{count} {name}" for name, count in figures.failures) or "none"


def _remarks(pairs: Sequence[tuple[Side, Side]]) -> tuple[str, ...]:
    told = []
    a, b = pairs[0]
    suspect = [name for name, side in (("A", a), ("B", b)) if side.grade != "valid"]
    if suspect:
        told.append(f"{' and '.join(suspect)} {'is' if len(suspect) == 1 else 'are'} suspect: read why")
    if a.config.model != b.config.model:
        told.append(f"two models: {a.config.model} and {b.config.model}")
    if len(pairs) == 1:
        told.append(
            "two runs, one after the other: what changed between them is in the difference (see bench ab)"
        )
    return tuple(told)


# How much do they differ?


def _difference(
    name: str,
    found: Sequence[tuple[Sequence[float], Sequence[float]]],
    pairs: Sequence[tuple[Side, Side]],
    margin: float,
    chance: Chance,
    intervals: int,
) -> Difference:
    sides = [
        (_Blocks(a, _block(len(a), pair[0].config)), _Blocks(b, _block(len(b), pair[1].config)))
        for (a, b), pair in zip(found, pairs, strict=True)
    ]
    shift = sum(b.mean - a.mean for a, b in sides) / len(sides)
    low, high = _interval(sides, shift, chance, 1 - (1 - LEVEL) / intervals, _Blocks.drawn, RESAMPLES)
    a_all = sorted(value for a, _ in found for value in a)
    b_all = sorted(value for _, b in found for value in b)
    p95_shift = sum(b.p95 - a.p95 for a, b in sides) / len(sides)
    p95 = None
    if min(min(len(a), len(b)) for a, b in found) >= P95_LEAST:
        ends = _interval(
            sides, p95_shift, Chance(chance.below(1 << 30), "p95"), LEVEL, _Blocks.drawn_p95, P95_RESAMPLES
        )
        p95 = math.expm1(ends[0]), math.expm1(ends[1])
    return Difference(
        metric=name,
        a_s=math.exp(sum(a.mean for a, _ in sides) / len(sides)),
        b_s=math.exp(sum(b.mean for _, b in sides) / len(sides)),
        change=math.expm1(shift),
        low=math.expm1(low),
        high=math.expm1(high),
        effect=effect(a_all, b_all),
        a_p95_s=numbers.percentile(a_all, 95),
        b_p95_s=numbers.percentile(b_all, 95),
        p95_change=math.expm1(p95_shift),
        p95=p95,
        grade=grade(math.expm1(shift), math.expm1(low), math.expm1(high), margin),
    )


def grade(change: float, low: float, high: float, margin: float) -> str:
    """worse, better: the interval leaves out 0, and the change is the margin or more. same: it leaves
    out changes of the margin or more. unclear: it holds both, none and more than the margin.
    """
    if low > 0 and change >= margin:
        return WORSE
    if high < 0 and change <= -margin:
        return BETTER
    return SAME if low > -margin and high < margin else UNCLEAR


def _block(count: int, config: Config) -> int:
    """Requests that are drawn together: at least those that are under way together, and n to the 1/3."""
    least = max(round(math.cbrt(count)), config.concurrency or 1)
    return max(1, min(least, count // 8))


class _Blocks:
    """The logarithms of one side's values; `drawn` is their mean, or their p95, in a sample of blocks, in a
    circle.
    """

    def __init__(self, values: Sequence[float], block: int) -> None:
        logs = [math.log(value) for value in values]
        self._count, self._block = len(logs), block
        self._circle = [*logs, *logs[:block]]
        sums = list(accumulate(self._circle, initial=0.0))
        self._sums = [after - before for before, after in zip(sums, sums[block:], strict=False)]
        self.mean = sum(logs) / len(logs)
        self.p95 = numbers.percentile(sorted(logs), 95)

    def drawn(self, chance: Chance) -> float:
        blocks = -(-self._count // self._block)
        sums, below, count = self._sums, chance.below, self._count
        return sum(sums[below(count)] for _ in range(blocks)) / (blocks * self._block)

    def drawn_p95(self, chance: Chance) -> float:
        found: list[float] = []
        while len(found) < self._count:
            start = chance.below(self._count)
            found += self._circle[start : start + self._block]
        return numbers.percentile(sorted(found), 95)


def _interval(
    sides: Sequence[tuple[_Blocks, _Blocks]],
    shift: float,
    chance: Chance,
    level: float,
    drawn: Callable[[_Blocks, Chance], float],
    resamples: int,
) -> tuple[float, float]:
    """Of the mean shift of what `drawn` gives, in logarithms."""
    count = len(sides)
    several = count > 1
    found = []
    for _ in range(resamples):
        picked = [sides[chance.below(count)] for _ in range(count)] if several else sides
        found.append(sum(drawn(b, chance) - drawn(a, chance) for a, b in picked) / count)
    found.sort()
    tail = (1 - level) / 2 * 100
    low, high = numbers.percentile(found, tail), numbers.percentile(found, 100 - tail)
    if not several:
        return low, high
    # The bootstrap of a few pairs is too narrow: by n - 1 for n, and by the tails it cannot know.
    wider = math.sqrt(count / (count - 1)) * student(1 - (1 - level) / 2, count - 1)
    wider /= NormalDist().inv_cdf(1 - (1 - level) / 2)
    return shift - (shift - low) * wider, shift + (high - shift) * wider


def student(share: float, freedom: int) -> float:
    """The quantile of Student's t: by halving, on its distribution in closed form."""
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        if _student_share(middle, freedom) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _student_share(t: float, freedom: int) -> float:
    """P(T <= t), t >= 0; Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine if freedom % 2 else 1.0), 0.0
    for k in range(2 if freedom % 2 else 1, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    inside = 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
    return 0.5 + inside / 2


def effect(a: Sequence[float], b: Sequence[float]) -> float:
    """P(B > A) + half of P(B = A); both ascending."""
    above = sum(bisect_left(a, value) + bisect_right(a, value) for value in b)
    return above / (2 * len(a) * len(b))


def as_data(found: Comparison) -> Mapping[str, Any]:
    return {
        "verdict": found.grade,
        "reasons": list(found.reasons),
        "margin": found.margin,
        "level": LEVEL,
        "pairs": found.pairs,
        "differences": [
            {
                "metric": row.metric,
                "a_ms": row.a_s * 1e3,
                "b_ms": row.b_s * 1e3,
                "change": row.change,
                "low": row.low,
                "high": row.high,
                "effect": row.effect,
                "a_p95_ms": row.a_p95_s * 1e3,
                "b_p95_ms": row.b_p95_s * 1e3,
                "p95_change": row.p95_change,
                "p95_low": row.p95[0] if row.p95 else None,
                "p95_high": row.p95[1] if row.p95 else None,
                "verdict": row.grade,
            }
            for row in found.differences
        ],
    }
