"""What was asked, and the figures: from samples to rates, from rows to the table in docs/bench.md. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OUT = ROOT / "bench" / "results" / "generator.json"
PAGE = ROOT / "docs" / "bench.md"
MARKS = "<!-- made by make bench-generator -->\n", "<!-- end -->\n"
GOALS = {"chunks": 20_000, "requests": 3_000}
BEAT_MS = 16
"""Of the stub: 440 streams of a chunk each beat are 27,500 chunks a second, if a new one followed at once; 96
requests at once, each answered at the next beat, are 6,000 a second."""
STREAMS = {"chunks": 440, "requests": 96}
TOKENS = {"chunks": 128, "requests": 1}
SPREAD = {"chunks": 64, "requests": 0}
"""Answers are so many tokens longer or shorter: streams that began together do not all end together."""
SETTLED_S = 2.0
"""After the load has begun: from then on the stub's own count is read."""


def rates(
    samples: list[tuple[dict[str, float], float]], before: float, seconds: float
) -> dict[str, float] | None:
    """What the stub sent from SETTLED_S after the load began to the end of its time, and its price.

    A sample is (the stub's counts, CPU seconds of the tool); `before`: requests that were there before.
    """
    began = next((found["at"] for found, _ in samples if found["requests"] >= before + 8), None)
    if began is None:
        return None
    inside = [one for one in samples if began + SETTLED_S <= one[0]["at"] <= began + seconds - 0.5]
    if len(inside) < 2:
        return None
    (first, cpu_first), (last, cpu_last) = inside[0], inside[-1]
    took = last["at"] - first["at"]
    paced = last["paced"] - first["paced"]
    return {
        "chunks_per_s": (last["chunks"] - first["chunks"]) / took,
        "requests_per_s": (last["answers"] - first["answers"]) / took,
        "cpu_share": (cpu_last - cpu_first) / took,
        **({"tpot_ms": (last["gaps_s"] - first["gaps_s"]) / paced * 1e3} if paced else {}),
    }


def table(found: dict[str, Any]) -> str:
    """Markdown, from what is kept."""
    offered = f"{STREAMS['chunks']} streams with a chunk each {BEAT_MS} ms"
    where = f"{found['machine']}, one core for each tool, {found['seconds']:g} s each"
    names = ("tool", "chunks/s", "of a core", "µs a chunk", "TPOT said / sent, ms")
    names += ("requests/s", "of a core", "µs a request", "verdict")
    lines = [
        f"Measured {found['date']} on {where}, load average {found['load_average']:.1f} before.",
        f"Offered: {offered}, and {STREAMS['requests']} requests at once with one token each.",
        "",
        f"| {' | '.join(names)} |",
        "|---" * len(names) + "|",
    ]
    rows = {(row["tool"], row["load"]): row for row in found["rows"]}
    for name in dict.fromkeys(row["tool"] for row in found["rows"]):
        chunks, requests = rows[name, "chunks"], rows[name, "requests"]
        lines.append(
            f"| {name} {chunks['version']} | {_cells(chunks, 'chunks')} | {tpot(chunks)} "
            f"| {_cells(requests, 'requests')} | {_verdicts(chunks, requests)} |"
        )
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any], kind: str) -> str:
    if row.get("error"):
        return "- | - | -"
    rate, seen = row["said"][f"{kind}_per_s"], row["seen"]
    if not seen:
        return f"{rate:,.0f} | - | -"
    cost = seen["cpu_share"] / max(seen[f"{kind}_per_s"], 1e-9) * 1e6
    return f"{rate:,.0f} | {seen['cpu_share']:.0%} | {cost:,.0f}"


def tpot(row: dict[str, Any]) -> str:
    if row.get("error"):
        return "-"
    said, seen = row["said"]["tpot_ms"], (row["seen"] or {}).get("tpot_ms")
    return " / ".join("-" if value is None else f"{value:.1f}" for value in (said, seen))


def _verdicts(*rows: dict[str, Any]) -> str:
    errors = [row["error"] for row in rows if row.get("error")]
    if errors:
        return errors[0].replace("|", "/")
    return ", ".join(row["said"]["verdict"] for row in rows if row["said"]["verdict"]) or "has none"


def put(page: str, made: str) -> str:
    """The page with the table between its marks."""
    start, end = MARKS
    head, _, rest = page.partition(start)
    return f"{head}{start}{made}{end}{rest.partition(end)[2]}"
