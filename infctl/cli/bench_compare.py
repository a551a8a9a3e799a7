"""`infctl bench compare` and `ab`: two runs, or pairs of them in turns, and the verdict on B."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from infctl.bench import results
from infctl.bench.compare import INCOMPARABLE, WORSE, Comparison, Difference, Side, as_data, compare
from infctl.bench.figures import DEFINITIONS
from infctl.bench.results import Config
from infctl.cli import bench_run, console, window
from infctl.cli.bench_options import Asking
from infctl.cli.bench_run import Where
from infctl.cli.text import Column, Paint, table, unpainted
from infctl.errors import BenchError, Interrupted

Pair = tuple[Side, Side]
_CODES = {WORSE: 1, INCOMPARABLE: 2}
_STYLES = {WORSE: "error", "better": "good", "same": "good", "unclear": "warning", INCOMPARABLE: "error"}
_SAID = {
    WORSE: "B is worse than A",
    "better": "B is better than A",
    "same": "no difference of the margin or more",
    "unclear": "no difference is shown, and none is ruled out: more requests would tell",
    INCOMPARABLE: "A and B cannot be compared",
}


def pair(a: str, b: str, home: Path) -> Pair:
    """Two runs that are kept. Raises BenchError."""
    return _kept(results.find(a, home)), _kept(results.find(b, home))


def _kept(place: Path) -> Side:
    run, log = results.load(place), results.records(place)
    return Side(run.config, run.verdict["grade"], results.of_result(run, log), log)


def in_turns(config: Config, a: Where, b: Where, rounds: int, asking: Asking) -> list[Pair]:
    """A B B A, each kept as a run. Raises BenchError, Interrupted."""
    pairs: list[Pair] = []
    total = rounds * 2
    for number in range(total):
        sides: dict[str, Side] = {}
        for name in "AB" if number % 2 == 0 else "BA":
            at = a if name == "A" else b
            # The same lengths and times in both; other words, whatever else was measured here.
            turn = msgspec.structs.replace(config, seed=config.seed + number, salt=name)
            asked = bench_run.workload(turn, asking)
            found = bench_run.with_progress(turn, at, f"{number + 1} of {total} {name} · ", asked)
            result = found.result(turn, at.url)
            place = results.save(at.home, result, found.ran.lines, found.samples)
            if result.ended == "interrupted":
                raise Interrupted("interrupted: the turns so far are kept")
            if result.ended != "complete":
                raise BenchError(f"{name}, {at.url}: {result.why}", hint=f"this turn is kept in {place}")
            sides[name] = Side(turn, found.verdict.grade, found.figures, found.records)
            console.say(f"{number + 1} of {total}  {name}  {result.verdict['grade']:<8}{place}")
        pairs.append((sides["A"], sides["B"]))
    return pairs


def told(pairs: Sequence[Pair], margin: float, *, json_output: bool) -> int:
    """Print it; the exit code."""
    found = compare(pairs, margin=margin)
    if json_output:
        console.data(dict(as_data(found)))
    else:
        for line in lines(found, window.width(), console.styled):
            console.fact(line)
    return _CODES.get(found.grade, 0)


def lines(found: Comparison, width: int, paint: Paint = unpainted) -> list[str]:
    said = [f"{paint(found.grade, _STYLES[found.grade])}: {_SAID[found.grade]} (margin {found.margin:.1%})"]
    said += [f"  {reason}" for reason in found.reasons]
    if not found.differences:
        return said
    rows = found.differences

    def signed(values: Sequence[float]) -> tuple[str, ...]:
        return tuple(f"{value:+.1%}" for value in values)

    said += [
        "",
        *table(
            [
                Column("geometric mean, ms", tuple(DEFINITIONS[row.metric].title for row in rows)),
                Column("A", tuple(f"{row.a_s * 1e3:,.1f}" for row in rows), right=True),
                Column("B", tuple(f"{row.b_s * 1e3:,.1f}" for row in rows), right=True),
                Column("B to A", signed([row.change for row in rows]), right=True),
                Column(
                    "95 % interval",
                    tuple(f"{row.low:+.1%} to {row.high:+.1%}" for row in rows),
                    right=True,
                ),
                Column("B slower", tuple(f"{row.effect:.0%}" for row in rows), right=True, sacrifice=1),
                Column("p95", tuple(_p95(row) for row in rows), right=True, sacrifice=2),
                Column("", tuple(row.grade for row in rows)),
            ],
            width,
            paint,
        ),
        "",
    ]
    basis = f"{found.pairs} pairs in turns" if found.pairs > 1 else "two runs"
    return [
        *said,
        f"{basis}; all intervals together hold in 95 of 100 cases; B slower: share of all pairs of requests",
    ]


def _p95(row: Difference) -> str:
    """With its own 95 % interval, where there are requests enough for one."""
    interval = f" ({row.p95[0]:+.0%} to {row.p95[1]:+.0%})" if row.p95 else ""
    return f"{row.p95_change:+.1%}{interval}"
