"""`infctl bench sweep`: several loads one after the other, each kept as a run, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from infctl.bench import results
from infctl.bench.results import Config, Result
from infctl.bench.sweep import KEPT_SHARE, Step, greatest, knee
from infctl.bench.verdict import INVALID
from infctl.cli import bench_run, console
from infctl.cli.bench_run import Where
from infctl.cli.text import Column, Paint, table, unpainted
from infctl.errors import BenchError, Interrupted, UsageError

_LOADS_MAX = 100


@dataclass(frozen=True, slots=True)
class Swept:
    config: Config
    result: Result
    place: Path
    step: Step


def loads(text: str, *, whole: bool) -> list[float]:
    """`1,2,4,8`, ascending. Raises UsageError."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    rising = all(before < after for before, after in pairwise(found))
    fits = all(0 < load < 1e6 and (not whole or load == int(load)) for load in found)
    if not 0 < len(found) <= _LOADS_MAX or not rising or not fits:
        raise UsageError(f"{text!r} is no list of rising loads", hint="such as 1,2,4,8")
    return found


def swept(configs: Sequence[Config], at: Where) -> list[Swept]:
    """Raises BenchError where the server goes away, Interrupted; what was measured is kept."""
    found = []
    for number, config in enumerate(configs, 1):
        measured = bench_run.with_progress(config, at.target, f"{number} of {len(configs)} · ")
        result = measured.result(config, at.url)
        place = results.save(at.home, result, measured.ran.lines)
        if result.ended == "interrupted":
            raise Interrupted("interrupted: the runs so far are kept")
        if result.ended != "complete":
            raise BenchError(f"at {_load(config):g}: {result.why}", hint=f"this run is kept in {place}")
        figures = measured.figures
        share = figures.good_share
        good = None if share is None else round(share * figures.counted)
        valid = measured.verdict.grade != INVALID
        step = Step(_load(config), figures.requests_per_s, figures.counted, good, valid)
        console.say(f"{number} of {len(configs)}  {step.load:g}  {result.verdict['grade']:<8}{place}")
        found.append(Swept(config, result, place, step))
    return found


def variants(config: Config, found: Sequence[float], *, rates: bool) -> list[Config]:
    """Of one configuration, at each load; each with a seed of its own, so that no prompt is asked twice."""
    made = []
    for number, load in enumerate(found):
        seed = config.seed + number
        if rates:
            made.append(msgspec.structs.replace(config, rate=load, seed=seed))
            continue
        more: dict[str, Any] = {"concurrency": int(load), "seed": seed}
        if config.requests is not None:
            more |= {"warmup": str(int(load)), "cooldown": str(int(load))}
        made.append(msgspec.structs.replace(config, **more))
    return made


def _load(config: Config) -> float:
    return config.rate if config.rate is not None else float(config.concurrency or 1)


def data(found: Sequence[Swept]) -> dict[str, Any]:
    steps = [one.step for one in found]
    bend, most = knee(steps), greatest(steps)
    return {
        "knee": None if bend is None else bend.load,
        "greatest_kept": None if most is None else most.load,
        "kept_share": KEPT_SHARE,
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
    rows = told["steps"]

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
    said = [*table(columns, width, paint), ""]
    bend, most = told["knee"], told["greatest_kept"]
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
