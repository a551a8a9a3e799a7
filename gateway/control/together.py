"""What several workers say of themselves, as one gateway says it. Pure.

Counts are added. Where workers see a backend differently, the worst is shown; `workers` says who sees what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.metrics import BACKEND_STATE, BREAKER_STATE

Document = dict[str, Any]
_STATUSES = ("down", "degraded", "ok")


def detailed(
    documents: Mapping[int, Document], workers: Sequence[Document], tallies: Mapping[str, Sequence[int]]
) -> Document:
    """`documents`: what each worker that serves says, by number; one of them at least.

    `tallies`: requests and errors at each backend, of workers that are no more.
    """
    every = list(documents.values())
    first = every[0]
    return first | {
        "status": min((each["status"] for each in every), key=_STATUSES.index),
        "uptime_s": max(each["uptime_s"] for each in every),
        "draining": any(each["draining"] for each in every),
        "warnings": list(dict.fromkeys(text for each in every for text in each["warnings"])),
        "models": [
            _model([same for each in every for same in each["models"] if same["name"] == model["name"]])
            for model in first["models"]
        ],
        "backends": backends({number: each["backends"] for number, each in documents.items()}, tallies),
        "workers": list(workers),
        "near_limits": near_limits([row for each in every for row in each["near_limits"]]),
    }


def near_limits(rows: Sequence[Document]) -> list[Document]:
    """Of several workers: who has heard of the least that is left is right, it only becomes less."""
    least: dict[tuple[str, str], Document] = {}
    for row in rows:
        known = least.setdefault((row["tenant"], row["code"]), row)
        if row["left"] < known["left"]:
            least[row["tenant"], row["code"]] = row
    return sorted(least.values(), key=lambda row: float(row["left"]) / row["limit"])


def backends(lists: Mapping[int, Sequence[Document]], tallies: Mapping[str, Sequence[int]]) -> list[Document]:
    """Of the workers by number."""
    first = next(iter(lists.values()))
    return [
        _backend(
            {number: same for number, rows in lists.items() for same in rows if same["id"] == row["id"]},
            tallies.get(row["id"], (0, 0)),
        )
        for row in first
    ]


def _model(same: Sequence[Document]) -> Document:
    return same[0] | {
        "healthy": all(each["healthy"] for each in same),
        "waiting": sum(each["waiting"] for each in same),
    }


def _backend(same: Mapping[int, Document], tally: Sequence[int]) -> Document:
    rows = list(same.values())
    worst = min(rows, key=lambda row: BACKEND_STATE.worst_first.index(row["state"]))
    breakers = [row["breaker"] for row in rows]
    breaker = min(breakers, key=lambda each: BREAKER_STATE.worst_first.index(each["state"]))
    views = {(row["state"], row["breaker"]["state"]) for row in rows}
    capacities = [row["capacity"] for row in rows]
    return worst | {
        "breaker": breaker
        | {
            "failures": max(each["failures"] for each in breakers),
            "opened": sum(each["opened"] for each in breakers),
            "retry_in_s": _longest(each["retry_in_s"] for each in breakers),
        },
        "in_flight": sum(row["in_flight"] for row in rows),
        "capacity": None if None in capacities else sum(capacities),
        "requests": sum(row["requests"] for row in rows) + tally[0],
        "errors": sum(row["errors"] for row in rows) + tally[1],
        "last_probe_s_ago": _longest(row["last_probe_s_ago"] for row in rows),
        "expected_in_s": _longest(row["expected_in_s"] for row in rows),
        "workers": [
            {"worker": number, "state": row["state"], "breaker": row["breaker"]["state"]}
            for number, row in same.items()
        ]
        if len(views) > 1
        else None,
    }


def _longest(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)
