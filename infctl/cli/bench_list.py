"""The runs that are kept, a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infctl.bench import results
from infctl.cli.bench_screen import load_text
from infctl.cli.text import Column, Paint, table, unpainted
from infctl.errors import BenchError


def rows(folder: Path) -> list[dict[str, Any]]:
    """A run that cannot be read is listed with the reason."""
    found = []
    for place in results.kept(folder):
        row: dict[str, Any] = dict.fromkeys(("load", "verdict", "ended", "ok", "counted", "requests_per_s"))
        row |= {"ttft_p50_ms": None, "e2e_p50_ms": None, "error": ""}
        try:
            run = results.load(place)
        except BenchError as error:
            row["error"] = error.message
        else:
            figures = run.figures or {}
            latencies = figures.get("latencies_ms", {})
            row |= {
                "load": load_text(run.config),
                "verdict": run.verdict["grade"],
                "ended": run.ended,
                "ok": run.measured().get("ok"),
                "counted": run.measured().get("counted"),
                "requests_per_s": figures.get("requests_per_s"),
                "ttft_p50_ms": latencies.get("ttft", {}).get("p50"),
                "e2e_p50_ms": latencies.get("e2e", {}).get("p50"),
            }
        found.append({"id": place.name, **row})
    return found


def lines(found: list[dict[str, Any]], width: int, paint: Paint = unpainted) -> list[str]:
    if not found:
        return ["no runs are kept here: infctl bench run makes one"]

    def figure(name: str, form: str = ".1f") -> tuple[str, ...]:
        return tuple("-" if row[name] is None else format(row[name], form) for row in found)

    return table(
        [
            Column("run", tuple(row["id"] for row in found)),
            Column("verdict", tuple(row["verdict"] or row["error"][:40] for row in found)),
            Column("ok", tuple(f"{row['ok']}/{row['counted']}" for row in found), right=True, sacrifice=3),
            Column("req/s", figure("requests_per_s", ".4g"), right=True),
            Column("TTFT p50", figure("ttft_p50_ms"), right=True),
            Column("e2e p50", figure("e2e_p50_ms"), right=True),
            Column("ended", tuple(row["ended"] or "-" for row in found), sacrifice=2),
            Column("load", tuple(row["load"] or "-" for row in found), sacrifice=1),
        ],
        width,
        paint,
    )
