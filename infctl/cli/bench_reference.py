"""`infctl bench run --reference`: what the reference platform's page claims, beside what is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from infctl.bench import reference
from infctl.bench.reference import NOT_MEASURED, SHORT, Hardware, Load, Outcome
from infctl.bench.results import Result
from infctl.cli import bench_run, console, window
from infctl.cli.bench_options import Asking, At, Course, Pace
from infctl.cli.text import Column, Paint, table, unpainted
from infctl.errors import BenchError, PlanError, UsageError

_RUN_S = 60.0
_STYLES = {SHORT: "error", NOT_MEASURED: "dim", "holds": "good", "better": "good"}


def only(asking: Asking, pace: Pace, course: Course, slo: Sequence[str] | None) -> None:
    """It brings its own load. Raises UsageError where another is typed."""
    mine = Asking(seed=asking.seed, ignore_eos=asking.ignore_eos)
    alike = Course(duration=course.duration, timeout=course.timeout)
    if asking != mine or pace != Pace() or course != alike or slo:
        raise UsageError(
            "--reference brings its own load",
            hint="beside it go --duration, --timeout, --seed, --no-ignore-eos, and where the server is",
        )


def run(
    url: str | None,
    at: At,
    model: str | None,
    named: str | None,
    asking: Asking,
    course: Course,
    *,
    json_output: bool,
) -> int:
    """Measure, print; the exit code. Raises what the runs raise."""
    if named is not None and url is None:
        raise UsageError("--hardware goes with --url: a profile says what it runs on")
    where = bench_run.where(url, at)
    name = bench_run.ask(where, model)
    hardware = _named(named) if url is not None else _of_profile(where, at, name)
    runs = [(load, _run(load, where, name, asking, course)) for load in reference.loads(hardware)]
    figures = {load.name: result.figures for load, result in runs}
    found = reference.outcomes(figures, hardware)
    if json_output:
        console.data(data(found, hardware, runs))
    else:
        for line in lines(found, hardware, window.width(), console.styled):
            console.fact(line)
    if not any(result.figures for _, result in runs):
        raise BenchError("none of these runs measures the server", hint="each is kept, with its reasons")
    return 1 if reference.falls_short(found) else 0


def _run(load: Load, where: bench_run.Where, model: str, asking: Asking, course: Course) -> Result:
    asked = replace(asking, lengths_in=load.lengths_in, lengths_out=load.lengths_out)
    timed = replace(course, duration=course.duration or _RUN_S)
    config, made = bench_run.config(model, asked, timed, Pace(concurrency=reference.USERS))
    result, place = bench_run.measured(config, made, where, f"{load.what} · ")
    console.say(f"{load.what}  {result.verdict['grade']:<8}{place}")
    if result.ended != "complete":
        bench_run.exit_code(result)
    return result


def _of_profile(where: bench_run.Where, at: At, model: str) -> Hardware:
    from infctl.cli.project import open_project
    from infctl.gpus import for_profile

    project = open_project(at.files)
    try:
        cards = for_profile(project.profile.gpus, project.loaded.where)
    except PlanError:  # this machine is not the one that has them
        return Hardware(known=False)
    serving = where.engines.get(model, bench_run.Engines()).cards
    return Hardware(tuple(card.name for card in cards), len(serving) or None if cards else 0)


def _named(text: str | None) -> Hardware:
    """Raises PlanError for cards that nobody knows."""
    if text is None:
        return Hardware(known=False)
    if text in {"none", "cpu"}:
        return Hardware(of_model=0)
    from infctl.gpus import parse

    cards = tuple(card.name for card in parse(text))
    # As the reference platform has it: two of its four serve the chat model.
    return Hardware(cards, max(1, len(cards) // 2) if len(cards) == reference.CARDS else len(cards))


def data(found: Sequence[Outcome], hardware: Hardware, runs: Sequence[tuple[Load, Result]]) -> dict[str, Any]:
    return {
        "hardware": str(hardware),
        "claims": [
            {
                "claim": outcome.claim.name,
                "claimed": outcome.claim.said,
                "measured": outcome.measured,
                "here": outcome.here,
                "unit": outcome.claim.unit,
                "verdict": outcome.grade,
                "why": outcome.why,
            }
            for outcome in found
        ],
        "runs": [
            {"load": load.what, "id": result.id, "verdict": result.verdict["grade"]} for load, result in runs
        ],
    }


def lines(found: Sequence[Outcome], hardware: Hardware, width: int, paint: Paint = unpainted) -> list[str]:
    def figure(value: float | None, outcome: Outcome) -> str:
        return "-" if value is None else f"{value:,.4g} {outcome.claim.unit}"

    columns = [
        Column("claim", tuple(outcome.claim.name for outcome in found)),
        Column("claimed", tuple(outcome.claim.said for outcome in found), right=True),
        Column(
            "measured",
            tuple(
                NOT_MEASURED if outcome.measured is None else figure(outcome.measured, outcome)
                for outcome in found
            ),
            right=True,
        ),
    ]
    if not hardware.is_reference:
        columns.append(
            Column("on what is here", tuple(figure(outcome.here, outcome) for outcome in found), right=True)
        )
    columns.append(
        Column(
            "",
            tuple("" if outcome.grade == NOT_MEASURED else outcome.grade for outcome in found),
            style=lambda cell: _STYLES.get(cell, ""),
        )
    )
    said = [
        f"the reference platform's claims ({reference.CARDS} x {reference.CARD}), measured on {hardware}",
        "",
    ]
    said += [*table(columns, width, paint), ""]
    return said + [f"{outcome.claim.name}: {outcome.why}" for outcome in found]
