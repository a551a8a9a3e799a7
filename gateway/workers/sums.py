"""The numbers of several workers as one gateway's. Pure.

Counters and histograms are added, gauges as their metric's `together` says. What a worker counted outlives
it: `counted` is what stays of its last snapshot, so that no total of the gateway goes backwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.metrics import METRICS, Labels, Metric, Snapshot

Wire = dict[str, list[tuple[Labels, tuple[float, ...]]]]
"""A snapshot as JSON: metric -> its series."""

_BY_NAME = {metric.name: metric for metric in METRICS}


def to_wire(snapshot: Snapshot) -> Wire:
    return {metric.name: list(series.items()) for metric, series in snapshot.items() if series}


def from_wire(wire: Any) -> Snapshot:
    return {
        _BY_NAME[name]: {tuple(labels): tuple(values) for labels, values in series}
        for name, series in wire.items()
    }


def total(snapshots: Iterable[Snapshot]) -> Snapshot:
    found: Snapshot = {metric: {} for metric in METRICS}
    for snapshot in snapshots:
        for metric, series in snapshot.items():
            known = found[metric]
            for labels, values in series.items():
                before = known.get(labels)
                known[labels] = values if before is None else _both(metric, before, values)
    for metric, series in found.items():
        if metric.together == "worst":
            _keep_worst(metric, series)
    return found


def counted(snapshot: Snapshot) -> Snapshot:
    """Without the gauges, which are true only while their worker lives."""
    return {metric: series for metric, series in snapshot.items() if metric.kind != "gauge"}


def _both(metric: Metric, one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    if metric.together == "min":
        return min(one, other)
    if metric.together in {"max", "worst"}:
        return max(one, other)
    return tuple(map(sum, zip(one, other, strict=True)))


def _keep_worst(metric: Metric, series: dict[Labels, tuple[float, ...]]) -> None:
    """Several workers may each see another state: one of them stays at 1."""
    for where in {labels[:-1] for labels in series}:
        seen = [state for state in metric.worst_first if series.get((*where, state), (0,))[0] > 0]
        for state in seen[1:]:
            series[*where, state] = (0,)
