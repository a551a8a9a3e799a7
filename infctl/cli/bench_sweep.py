"""`infctl bench sweep`: several loads one after the other, each kept as a run, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from infctl.bench import results, search
from infctl.bench.results import Config, Result
from infctl.bench.search import Found, Trial, Try
from infctl.bench.session import Measured
from infctl.bench.sweep import KEPT_SHARE, Step, greatest, knee
from infctl.bench.verdict import INVALID
from infctl.cli import bench_run, console
from infctl.cli.bench_options import Asking, Course, Pace
from infctl.cli.bench_run import Where
from infctl.cli.text import Column, Paint, table, unpainted
from infctl.errors import BenchError, Interrupted, UsageError

_LOADS_MAX = 100
_SEARCH_REQUESTS = 400
"""Of each run of a search: with half as many the edge is found 80 times of 100 where 95 are promised."""
_WARM_SHARE = 10


@dataclass(frozen=True, slots=True)
class Swept:
    config: Config
    result: Result
    place: Path
    step: Step


@dataclass(frozen=True, slots=True)
class Loads:
    kind: str
    """concurrency, rate or speed."""
    found: tuple[float, ...]

    @property
    def unit(self) -> str:
        return {"concurrency": "at once", "rate": "a second", "speed": "x the trace's speed"}[self.kind]

    def pace(self) -> Pace:
        """The first."""
        load = self.found[0]
        if self.kind == "concurrency":
            return Pace(concurrency=int(load))
        return Pace(rate=load) if self.kind == "rate" else Pace(speed=load)


def chosen(concurrencies: str, rates: str | None, speeds: str | None, *, traced: bool, search: bool) -> Loads:
    """What is swept. Raises UsageError."""
    if traced != (speeds is not None):
        raise UsageError("--trace and --speeds go together: the load of a trace is its speed")
    if rates and speeds:
        raise UsageError("--rates and --speeds are both given: which is the load?")
    if search:
        if speeds:
            raise UsageError("--search is of a rate, which a trace has not")
        found = _loads(rates or "1", whole=False)
        if len(found) > 2:
            raise UsageError(f"--rates {rates}: with --search it is the first rate, or FIRST,MOST")
        return Loads("rate", found)
    if speeds:
        return Loads("speed", _loads(speeds, whole=False))
    return (
        Loads("rate", _loads(rates, whole=False))
        if rates
        else Loads("concurrency", _loads(concurrencies, whole=True))
    )


def _loads(text: str, *, whole: bool) -> tuple[float, ...]:
    """`1,2,4,8`, ascending. Raises UsageError."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    rising = all(before < after for before, after in pairwise(found))
    fits = all(0 < load < 1e6 and (not whole or load == int(load)) for load in found)
    if not 0 < len(found) <= _LOADS_MAX or not rising or not fits:
        raise UsageError(f"{text!r} is no list of rising loads", hint="such as 1,2,4,8")
    return found


def course(given: Course, *, slo: Sequence[str], search: bool) -> Course:
    """Of a search: more requests, and a warm-up. Raises UsageError."""
    if not search:
        return given
    if not slo:
        raise UsageError("--search needs what is to be kept: --slo ttft=500")
    if given.arrivals.startswith("ramp"):
        raise UsageError("--search takes each rate as it is: --arrivals ramp has no place beside it")
    requests = given.requests or (None if given.duration else _SEARCH_REQUESTS)
    warmup = given.warmup or (str(requests // _WARM_SHARE) if requests else None)
    return replace(given, requests=requests, warmup=warmup)


def swept(configs: Sequence[Config], at: Where, asking: Asking) -> list[Swept]:
    """Raises BenchError where the server goes away, Interrupted; what was measured is kept."""
    total = len(configs)
    return [_one(config, at, asking, f"{number} of {total}")[0] for number, config in enumerate(configs, 1)]


def searched(asked: search.Asked, config: Config, at: Where, asking: Asking) -> tuple[list[Swept], Found]:
    """The same of a search."""
    found: list[Swept] = []
    trials: list[Trial] = []
    while isinstance(step := search.following(trials, asked), Try):
        # A seed of its own, so that no prompt is asked twice.
        given = msgspec.structs.replace(config, rate=step.rate, seed=config.seed + len(trials))
        one, measured = _one(given, at, asking, f"{len(trials) + 1} ({step.why})")
        found.append(one)
        trials.append(search.trial(given, measured.records, measured.figures.window, valid=one.step.valid))
    return found, step


def _one(config: Config, at: Where, asking: Asking, label: str) -> tuple[Swept, Measured]:
    asked = bench_run.workload(config, asking)
    measured = bench_run.with_progress(config, at, f"{label} · ", asked)
    result = measured.result(config, at.url)
    place = results.save(at.home, result, measured.ran.lines, measured.samples)
    if result.ended == "interrupted":
        raise Interrupted("interrupted: the runs so far are kept")
    if result.ended != "complete":
        raise BenchError(f"at {_load(config):g}: {result.why}", hint=f"this run is kept in {place}")
    figures = measured.figures
    share = figures.good_share
    good = None if share is None else round(share * figures.counted)
    valid = measured.verdict.grade != INVALID
    step = Step(_load(config), figures.requests_per_s, figures.counted, good, valid)
    console.say(f"{label}  {step.load:g}  {result.verdict['grade']:<8}{place}")
    return Swept(config, result, place, step), measured


def variants(config: Config, loads: Loads) -> list[Config]:
    """Of one configuration, at each load; each with a seed of its own, so that no prompt is asked twice."""
    made = []
    for number, load in enumerate(loads.found):
        more: dict[str, Any] = {"seed": config.seed + number}
        if loads.kind == "concurrency":
            more["concurrency"] = int(load)
            own = str(int(loads.found[0]))
            for name in ("warmup", "cooldown"):  # as many as go at once, where nothing else was said
                if config.requests is not None and getattr(config, name) == own:
                    more[name] = str(int(load))
        else:
            more[loads.kind] = load
        made.append(msgspec.structs.replace(config, **more))
    return made


def _load(config: Config) -> float:
    if config.arrivals == "trace":
        return config.speed
    return config.rate if config.rate is not None else float(config.concurrency or 1)


def data(found: Sequence[Swept], told: Found | None = None) -> dict[str, Any]:
    steps = [one.step for one in found]
    # The runs of a search do not rise; what they say is in `search`.
    bend, most = (knee(steps), greatest(steps)) if told is None else (None, None)
    return {
        "knee": None if bend is None else bend.load,
        "greatest_kept": None if most is None else most.load,
        "kept_share": KEPT_SHARE,
        "search": None
        if told is None
        else {"rate": told.rate, "low": told.low, "high": told.high, "ended": told.why},
        "steps": [_row(one) for one in found],
    }


def _row(one: Swept) -> dict[str, Any]:
    figures = one.result.figures or {}
    latencies = figures.get("latencies_ms", {})
    kept = one.step.kept if one.result.figures is not None else None
    return {
        "load": one.step.load,
        "id": one.result.id,
        "verdict": one.result.verdict["grade"],
        "requests_per_s": figures.get("requests_per_s"),
        "tokens_out_per_s": figures.get("tokens_out_per_s"),
        "ttft_p95_ms": latencies.get("ttft", {}).get("p95"),
        "tpot_p50_ms": latencies.get("tpot", {}).get("p50"),
        "e2e_p50_ms": latencies.get("e2e", {}).get("p50"),
        "e2e_p95_ms": latencies.get("e2e", {}).get("p95"),
        "good_share": figures.get("good_share"),
        "good_low": kept[0] if kept else None,
        "good_high": kept[1] if kept else None,
    }


def exit_code(found: Sequence[Swept]) -> int:
    """Raises BenchError where not one of the runs may be read."""
    if not any(one.step.valid for one in found):
        raise BenchError("none of these runs measures the server", hint="each is kept, with its reasons")
    return 0


def lines(found: Sequence[Swept], unit: str, width: int, paint: Paint = unpainted) -> list[str]:
    told = data(found)
    bend, most = told["knee"], told["greatest_kept"]
    said = [*_table(told["steps"], unit, width, paint), ""]
    said.append(
        "no knee: the greatest load still gives more"
        if bend is None
        else f"knee at {bend:g} {unit}: beyond it a doubled load gives less than 1.4 times the requests"
    )
    if found[0].step.good is not None:
        said.append(
            f"no load kept the SLOs for {KEPT_SHARE:.0%} of its requests"
            if most is None
            else f"greatest load that kept the SLOs for {KEPT_SHARE:.0%} of its requests: {most:g} {unit}"
        )
    return said


_ENDED = {
    "most": "and it was the most that might be asked for",
    "client": "beyond it this client was the limit, not the server",
    "trials": "and there were no runs left to look closer",
}


def search_lines(found: Sequence[Swept], told: Found, width: int, paint: Paint = unpainted) -> list[str]:
    said = [*_table([_row(one) for one in found], "a second", width, paint), ""]
    if told.rate is None and told.why == "client":
        return [*said, "no rate can be judged: its runs say nothing of the server"]
    if told.rate is None:
        tried = min(one.step.load for one in found)
        said.append(f"no rate kept the SLOs for {KEPT_SHARE:.0%} of its requests, down to {tried:g} a second")
        return said
    rate = f"{told.rate:.4g} requests/s"
    share = f"{KEPT_SHARE:.0%} of its requests"
    said.append(f"greatest rate that kept the SLOs for {share}: {paint(rate, 'bold')}")
    if told.low is not None and told.high is not None:
        said.append(f"95 % interval of the edge: {told.low:.4g} to {told.high:.4g}")
    if told.why in _ENDED:
        said.append(_ENDED[told.why])
    return said


def _table(rows: Sequence[dict[str, Any]], unit: str, width: int, paint: Paint) -> list[str]:
    def cells(key: str, form: str = ",.1f") -> tuple[str, ...]:
        return tuple("-" if row[key] is None else format(row[key], form) for row in rows)

    columns = [
        Column(unit, tuple(f"{row['load']:g}" for row in rows), right=True),
        Column("requests/s", cells("requests_per_s", ".4g"), right=True),
        Column("tokens/s out", cells("tokens_out_per_s"), right=True),
        Column("TTFT p95, ms", cells("ttft_p95_ms"), right=True, sacrifice=1),
        Column("TPOT p50", cells("tpot_p50_ms"), right=True, sacrifice=2),
        Column("e2e p50", cells("e2e_p50_ms"), right=True),
        Column("e2e p95", cells("e2e_p95_ms"), right=True),
        Column("verdict", tuple(row["verdict"] for row in rows)),
    ]
    if any(row["good_share"] is not None for row in rows):
        kept = tuple(
            "-"
            if row["good_low"] is None
            else f"{row['good_share']:.1%} ({row['good_low']:.1%}-{row['good_high']:.1%})"
            for row in rows
        )
        columns.insert(-1, Column("kept the SLOs", kept, right=True))
    return table(columns, width, paint)
