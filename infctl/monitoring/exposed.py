"""A page of metrics as it is exposed (Prometheus' text format 0.0.4, OpenMetrics 1.0), read. Pure.

What is not understood is left out: a page of somebody else must not end what looks at it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

_NAME: Final = re.compile(r"[a-zA-Z_:][\w:]*")
_LABEL: Final = re.compile(r'\s*([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"\s*,?')
_ESCAPED: Final = re.compile(r"\\(.)")
_PLAIN: Final = {"n": "\n", '"': '"', "\\": "\\"}
_TYPE: Final = re.compile(r"# TYPE ([a-zA-Z_:][\w:]*) (\w+)")
_SERIES: Final[dict[str, tuple[str, ...]]] = {
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("", "_count", "_sum"),
    # OpenMetrics declares a counter without its suffix, the text format with it, some exporters have none.
    "counter": ("", "_total"),
}


Keep = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one moment."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Page:
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    """By the name of the series: `x_total`, `x_bucket`."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Declared name -> counter, gauge, histogram ...; also of what has no series yet."""

    def names(self) -> frozenset[str]:
        """Every name that can be asked for; those of declared metrics without a series too."""
        told = set(self.samples)
        for name, kind in self.kinds.items():
            suffixes = ("",) if name.endswith("_total") else _SERIES.get(kind, ("",))
            told.update(name + suffix for suffix in suffixes)
        return frozenset(told)

    def of(self, name: str) -> tuple[Sample, ...]:
        return self.samples.get(name, ())

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the series that have these labels; None: there is none."""
        found = [one.value for one in self.of(name) if labels.items() <= one.labels.items()]
        return math.fsum(found) if found else None

    def by(self, label: str, name: str, keep: Keep | None = None) -> dict[str, float]:
        """Value of `label` -> the sum of its series; `keep`: which of them count."""
        found: dict[str, float] = {}
        for one in self.of(name):
            if keep is None or keep(one.labels):
                key = one.labels.get(label, "")
                found[key] = found.get(key, 0.0) + one.value
        return found


def read(text: str, begins: tuple[str, ...] = ("",)) -> Page:
    """`begins`: how the names begin that are wanted."""
    samples: dict[str, list[Sample]] = {}
    kinds: dict[str, str] = {}
    for line in text.split("\n"):  # a label may hold what else ends a line
        if line.startswith("#"):
            told = _TYPE.match(line)
            if told is not None and told[1].startswith(begins):
                kinds[told[1]] = told[2]
        elif line.startswith(begins):
            for name, sample in _sample(line):
                samples.setdefault(name, []).append(sample)
    return Page({name: tuple(found) for name, found in samples.items()}, kinds)


def joined(pages: Iterable[Page]) -> Page:
    """Of several that tell the same: all their series, which sums then add up."""
    samples: dict[str, tuple[Sample, ...]] = {}
    kinds: dict[str, str] = {}
    for page in pages:
        kinds |= page.kinds
        for name, found in page.samples.items():
            samples[name] = samples.get(name, ()) + found
    return Page(samples, kinds)


def _sample(line: str) -> Iterator[tuple[str, Sample]]:
    """One, or none."""
    named = _NAME.match(line)
    if named is None:
        return
    place, labels = named.end(), {}
    if line[place : place + 1] == "{":
        place += 1
        while (label := _LABEL.match(line, place)) is not None:
            labels[label[1]] = _ESCAPED.sub(_unescaped, label[2]) if "\\" in label[2] else label[2]
            place = label.end()
        if line[place : place + 1] != "}":
            return
        place += 1
    words = line[place:].split(None, 1)
    try:
        value = float(words[0])
    except (IndexError, ValueError):
        return
    if not math.isnan(value):
        yield named[0], Sample(labels, value)


def _unescaped(found: re.Match[str]) -> str:
    return _PLAIN.get(found[1], found[0])


Buckets = Mapping[float, float]
"""Upper bound -> how many were at most that; the last bound is infinite."""


def buckets(samples: Iterable[Sample]) -> dict[float, float]:
    """Of the `_bucket` series of a histogram, added up."""
    found: dict[float, float] = {}
    for one in samples:
        try:
            bound = float(one.labels.get("le", ""))
        except ValueError:
            continue
        found[bound] = found.get(bound, 0.0) + one.value
    return found


def quantile(share: float, counts: Buckets) -> float | None:
    """As Prometheus' histogram_quantile: linear inside a bucket, the last finite bound for what is beyond it.

    None: nothing was counted.
    """
    bounds = sorted(counts)
    if not bounds or not math.isinf(bounds[-1]) or counts[bounds[-1]] <= 0:
        return None
    rank = share * counts[bounds[-1]]
    at = next(n for n, bound in enumerate(bounds) if counts[bound] >= rank)
    if at == len(bounds) - 1:
        return bounds[-2] if len(bounds) > 1 else None
    low, before = (bounds[at - 1], counts[bounds[at - 1]]) if at else (0.0, 0.0)
    inside = counts[bounds[at]] - before
    return low + (bounds[at] - low) * (rank - before) / inside if inside > 0 else bounds[at]
