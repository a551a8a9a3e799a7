"""Plots as inline SVG: axes, lines, points. No script, no font, nothing from elsewhere. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 28, 44
POINTS_MAX = 2000
"""Of a series; more are thinned evenly, so that a page of a long run still opens."""
_MARKED_MAX = 24
"""A line of so few points has a dot at each: one point alone would be no line, and nothing would be seen."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """`kind`: line, points or crosses. `name` stands in the legend; colours come from the page's style."""

    name: str
    points: Sequence[Point]
    kind: str = "line"
    labels: Sequence[str] = ()
    """Beside the points."""


def plot(title: str, x: str, y: str, series: Sequence[Series], most_y: float | None = None) -> str:
    """One figure. Both axes begin at 0; `most_y`: where y ends. Nothing to draw is said in words."""
    drawn = [one for one in series if one.points]
    if not drawn:
        return f"<figure><figcaption>{escape(title)}</figcaption><p>nothing to draw</p></figure>"
    far_x = _round(max(point[0] for one in drawn for point in one.points))
    far_y = most_y or _round(max(point[1] for one in drawn for point in one.points))

    def place(point: Point) -> Point:
        across = _LEFT + point[0] / far_x * (WIDTH - _LEFT - _RIGHT)
        return across, HEIGHT - _BOTTOM - point[1] / far_y * (HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">',
        *_axes(far_x, far_y, x, y),
    ]
    for number, one in enumerate(drawn):
        parts += _series(one, [place(point) for point in _thinned(one.points)], number)
    legend = " ".join(
        f'<span class="key s{number}">{_MARKS[one.kind]} {escape(one.name)}</span>'
        for number, one in enumerate(drawn)
    )
    return f"<figure><figcaption>{escape(title)}</figcaption>{''.join(parts)}</svg><p>{legend}</p></figure>"


_MARKS = {"line": "━", "points": "●", "crosses": "✕"}


def _series(one: Series, places: Sequence[Point], number: int) -> list[str]:
    if one.kind == "line":
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dots = _dots(places, number) if len(places) <= _MARKED_MAX else []
        return [f'<polyline class="s{number}" points="{path}"/>', *dots, *_labels(one, places)]
    if one.kind == "points":
        return [*_dots(places, number), *_labels(one, places)]
    return [f'<path class="s{number} cross" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>' for x, y in places]


def _dots(places: Sequence[Point], number: int) -> list[str]:
    return [f'<circle class="s{number}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in places]


def _labels(one: Series, places: Sequence[Point]) -> list[str]:
    return [
        f'<text x="{x + 5:.1f}" y="{y - 5:.1f}">{escape(label)}</text>'
        for (x, y), label in zip(places, one.labels, strict=False)
    ]


def _axes(far_x: float, far_y: float, x: str, y: str) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = [f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>']
    for tick in _ticks(far_x):
        at = _LEFT + tick / far_x * (right - _LEFT)
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
        )
    for tick in _ticks(far_y):
        at = bottom - tick / far_y * (bottom - _TOP)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>')
    return [*parts, f'<text x="{_LEFT}" y="{_TOP - 10}">{escape(y)}</text>']


def _round(most: float) -> float:
    """The least round number that is not below `most`."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= most * 0.999)


def _ticks(far: float) -> list[float]:
    return [round(far * part / 5, 12) for part in range(6)]


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= POINTS_MAX:
        return points
    step = len(points) / POINTS_MAX
    return [points[int(at * step)] for at in range(POINTS_MAX)]
