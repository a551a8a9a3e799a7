"""Trials -> a row a proxy: medians over the rounds, their spread, ratios to nginx. And the same as text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from trials import Trial

CONNECTIONS = (1, 16, 64)
CHUNKS_AT = 256
"""CPU per 1,000 chunks is read at so many streams, or at the most that were tried below."""
SMOOTH_MS = 40.0
"""Streams are sustained while 99 of 100 gaps stay below two beats."""


@dataclass
class Row:
    """One proxy."""

    name: str
    version: str = ""
    notes: tuple[str, ...] = ()
    error: str | None = None
    memory: dict[str, float] = field(default_factory=dict)


def median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def spread(values: Iterable[float]) -> float | None:
    """Half of what lies between the extremes, as a share of the median."""
    found = list(values)
    middle = median(found)
    return (max(found) - min(found)) / 2 / middle if found and middle else None


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, float):
        if math.isnan(value):  # of nothing: all of it was lost
            return None
        return round(value, 4 if abs(value) < 1 else 2)
    return value


def _plain(trials: list[Trial], direct: list[Trial]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    added = {}
    for size in CONNECTIONS:
        of = [trial for trial in trials if trial.size == size]
        base = {trial.round: trial for trial in direct if trial.size == size}
        pairs = [(trial, base[trial.round]) for trial in of if trial.round in base]
        added[str(size)] = {
            name: median(trial.found[name] - without.found[name] for trial, without in pairs)
            for name in ("p50_us", "p99_us")
        } | {f"total_{name}": median(trial.found[name] for trial in of) for name in ("p50_us", "p99_us")}
    full = [trial for trial in trials if trial.size == max(CONNECTIONS)]
    rates = [trial.found["requests"] / trial.seconds for trial in full]
    costs = [trial.cpu_s / max(1, trial.found["requests"]) * 1e6 for trial in full]
    found["rps"] = median(rates)
    found["rps_spread"] = spread(rates)
    found["cpu_us_per_request"] = median(costs)
    found["cpu_spread"] = spread(costs)
    found["added_p50_us"] = added["1"]["p50_us"]
    found["added_p99_us"] = added["1"]["p99_us"]
    found["added"] = added
    found["proxy_core_busy"] = median(trial.cpu_s / trial.seconds for trial in full)
    found["load_core_busy"] = median(
        (trial.stub_cpu_s + trial.found["load_cpu_s"]) / trial.seconds for trial in full
    )
    return found


def _streams(trials: list[Trial]) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    sustained = 0
    for size in sorted({trial.size for trial in trials}):
        of = [trial for trial in trials if trial.size == size]
        lost = sum(int(trial.found["asked"] - trial.found["whole"]) for trial in of)
        row = {
            "asked": sum(int(trial.found["asked"]) for trial in of),
            "lost": lost,
            "gap_p99_ms": median(trial.found["gap_p99_ms"] for trial in of),
            "first_p50_ms": median(trial.found["first_p50_ms"] for trial in of),
            "first_p99_ms": median(trial.found["first_p99_ms"] for trial in of),
            "cpu_ms_per_1k_chunks": median(
                trial.cpu_s * 1e6 / trial.found["events"] for trial in of if trial.found["events"]
            ),
            "cpu_spread": spread(
                trial.cpu_s * 1e6 / trial.found["events"] for trial in of if trial.found["events"]
            ),
            "bad": _sum(trial.bad for trial in of),
        }
        sizes[str(size)] = row
        if not lost and (row["gap_p99_ms"] or 0) < SMOOTH_MS:
            sustained = size
    at = max((int(size) for size in sizes if int(size) <= CHUNKS_AT), default=None)
    return {
        "cpu_ms_per_1k_chunks": sizes[str(at)]["cpu_ms_per_1k_chunks"] if at else None,
        "streams_ok": sustained if sizes else None,
        "streams": sizes,
    }


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for why, count in each.items():
            total[why] = total.get(why, 0) + count
    return total


_FIELDS = (
    "rps",
    "cpu_us_per_request",
    "added_p50_us",
    "added_p99_us",
    "cpu_ms_per_1k_chunks",
    "streams_ok",
    "pss_idle_mb",
    "pss_after_mb",
)


def rows(found: list[Row], trials: list[Trial]) -> list[dict[str, Any]]:
    """As they stand in the JSON. What could not be measured is null, and `error` says why."""
    direct = [trial for trial in trials if trial.target == "direct" and trial.kind == "plain"]
    out = []
    for row in found:
        own = [trial for trial in trials if trial.target == row.name]
        plain = [trial for trial in own if trial.kind == "plain"]
        streams = [trial for trial in own if trial.kind == "streams"]
        data: dict[str, Any] = {"name": row.name, "version": row.version} | dict.fromkeys(_FIELDS)
        if plain:
            data |= _plain(plain, direct)
        if streams:
            data |= _streams(streams)
        data |= row.memory
        if row.name == "direct":  # no proxy, so no cost of one
            data |= dict.fromkeys(("cpu_us_per_request", "cpu_ms_per_1k_chunks"))
        data["bad"] = _sum(trial.bad for trial in own)
        data["notes"] = list(row.notes)
        if row.error is not None:
            data["error"] = row.error
        out.append(data)
    nginx = next((each for each in out if each["name"] == "nginx"), None)
    for each in out:
        each["x_nginx"] = {
            key: each[key] / nginx[key]
            for key in ("rps", "cpu_us_per_request", "cpu_ms_per_1k_chunks")
            if nginx and each[key] is not None and nginx[key]
        }
    return [_rounded(each) for each in out]


# As text


def _cell(value: Any, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def text(table: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    head = (
        "",
        "requests/s",
        "+-",
        "x nginx",
        "CPU us",
        "+-",
        "x nginx",
        "added p50 us, 1/16/64",
        "added p99 us, 1/16/64",
        "ms/1k chunks",
        "x nginx",
        "streams",
        "gap p99 ms",
        "first p99 ms",
        "MB idle",
        "MB after",
        "cores busy",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in table:
        added = row.get("added", {})
        most = row.get("streams", {})
        last = most[max(most, key=int)] if most else {}
        largest = max(map(int, most), default=0)
        cells = (
            row["name"],
            _cell(row["rps"]),
            _share(row.get("rps_spread")),
            _cell(row["x_nginx"].get("rps"), 2),
            _cell(row["cpu_us_per_request"], 1),
            _share(row.get("cpu_spread")),
            _cell(row["x_nginx"].get("cpu_us_per_request"), 2),
            " / ".join(_cell(added.get(str(size), {}).get("p50_us")) for size in CONNECTIONS),
            " / ".join(_cell(added.get(str(size), {}).get("p99_us")) for size in CONNECTIONS),
            _cell(row["cpu_ms_per_1k_chunks"], 1),
            _cell(row["x_nginx"].get("cpu_ms_per_1k_chunks"), 2),
            _cell(row["streams_ok"]),
            f"{_cell(last.get('gap_p99_ms'), 1)} @{largest}" if last else "-",
            f"{_cell(last.get('first_p99_ms'), 1)} @{largest}" if last else "-",
            _cell(row["pss_idle_mb"], 1),
            _cell(row["pss_after_mb"], 1),
            f"{_share(row.get('proxy_core_busy'))} / {_share(row.get('load_core_busy'))}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += [f"\n{row['name']}: {row['error']}" for row in table if "error" in row]
    lines += [f"\n{row['name']}: bad answers {row['bad']}" for row in table if row["bad"]]
    lines += [f"\n{row['name']}: {'; '.join(row['notes'])}" for row in table if row["notes"]]
    return "\n".join(lines)
