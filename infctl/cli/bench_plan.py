"""`infctl bench plan`: what was planned, what runs measured of it, and what the settings might better be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from infctl.bench import results
from infctl.bench.advice import Planned, Row, Seen, Suggestion, seen, suggestions, table
from infctl.cli import console, window
from infctl.cli.text import Column, Paint, unpainted
from infctl.cli.text import table as columns
from infctl.errors import BenchError, UsageError

if TYPE_CHECKING:
    from infctl.plan import Plan
    from infctl.profile.schema import Profile


def run(
    names: Sequence[str],
    home: Path,
    files: list[Path] | None,
    gpus: str | None,
    *,
    offline: bool,
    json_output: bool,
) -> None:
    """Raises BenchError for runs that say nothing, UsageError, and what a plan raises."""
    from infctl.cli.planning import make
    from infctl.cli.project import open_project

    places = [results.find(name, home) for name in names]
    runs = [results.load(place) for place in places]
    asked = {found.config.model for found in runs}
    if len(asked) > 1:
        raise UsageError(f"these are runs of several models: {', '.join(sorted(asked))}")
    profile = open_project(files).profile
    model = _model(profile, asked.pop())
    made = make(files, gpus, offline=offline, actual=False)
    for text in made.warnings:
        console.warn(text)
    planned = _planned(profile, made.plan, model)
    looks = []
    for found in runs:
        try:
            looks.append(seen(msgspec.to_builtins(found), planned.replicas))
        except ValueError as error:
            raise BenchError(
                f"{found.id}: {error}", hint="infctl bench run again, on a quiet machine"
            ) from None
    last = max(looks, key=lambda look: look.in_flight)
    rows, told = table(planned, last), suggestions(planned, looks)
    if json_output:
        console.data(data(planned, looks, rows, told))
        return
    for line in lines(planned, last, rows, told, window.width(), console.styled):
        console.fact(line)


def _model(profile: Profile, name: str) -> str:
    """As the profile calls it. Raises UsageError."""
    for known, model in profile.models.items():
        if name == known or name in model.alias:
            return str(known)
    raise UsageError(
        f"the profile has no model {name}, which this run measured",
        hint=f"there are: {', '.join(sorted(profile.models))}; -f names another profile",
    )


def _planned(profile: Profile, plan: Plan, model: str) -> Planned:
    replicas = [replica for replica in plan.replicas if replica.model == model]
    need = next((replica.need for replica in replicas if replica.need is not None), None)
    limits = profile.gateway.limits
    return Planned(
        model=model,
        replicas=len(replicas),
        kv_tokens=need.kv.tokens if need is not None and need.kv is not None else None,
        max_model_len=need.resolved.max_model_len if need is not None else None,
        max_num_seqs=need.resolved.max_num_seqs if need is not None else None,
        max_num_batched_tokens=need.resolved.max_num_batched_tokens if need is not None else None,
        in_flight=limits.in_flight,
        requests_per_second=limits.requests_per_second,
        tokens_per_minute=limits.tokens_per_minute,
    )


def data(
    planned: Planned, looks: Sequence[Seen], rows: Sequence[Row], told: Sequence[Suggestion]
) -> dict[str, Any]:
    return {
        "model": planned.model,
        "replicas": planned.replicas,
        "runs": [look.id for look in looks],
        "engine_seen": any(look.looked for look in looks),
        "figures": [
            {"what": row.what, "planned": row.planned, "measured": row.measured, "note": row.note}
            for row in rows
        ],
        "suggestions": [
            {"setting": one.setting, "now": one.now, "value": one.value, "evidence": one.evidence}
            for one in told
        ],
    }


def lines(
    planned: Planned,
    last: Seen,
    rows: Sequence[Row],
    told: Sequence[Suggestion],
    width: int,
    paint: Paint = unpainted,
) -> list[str]:
    count = f"{planned.replicas} replica" + ("" if planned.replicas == 1 else "s")
    said = [f"{paint(planned.model, 'bold')}, {count}, as planned, and as measured by {last.id}", ""]
    said += columns(
        [
            Column("", tuple(row.what for row in rows)),
            Column("planned", tuple(_number(row.planned) for row in rows), right=True),
            Column(
                "measured",
                tuple("not measured" if row.measured is None else _number(row.measured) for row in rows),
                right=True,
            ),
            Column("", tuple(row.note for row in rows), sacrifice=1),
        ],
        width,
        paint,
    )
    if not last.looked:
        said += ["", "the engine was not looked at: with -f, or --metrics URL of its /metrics, a run does"]
    changes = [one for one in told if one.value is not None]
    said += ["", "suggested:" if changes else "no change is suggested:"]
    for one in told:
        if one.value is None:
            said.append(f"  {one.setting}: leave it" + ("" if one.now is None else f" at {_number(one.now)}"))
        else:
            now = "none" if one.now is None else _number(one.now)
            said.append(f"  {one.setting}: {now} -> {paint(_number(one.value), 'bold')}")
        said.append(f"    {one.evidence}")
    return said


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.3g}"
