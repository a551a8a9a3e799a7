"""How many tokens: distributions as a person writes them. Pure.

    128                         always
    uniform:64-256              each as likely
    normal:128,32               mean, standard deviation
    lognormal:128,64            mean and standard deviation of the lengths themselves
    0.7*128+0.3*uniform:512-1024   a mixture

Every one is cut to 1..LONGEST; normal and lognormal are drawn again while they are outside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from infctl.bench.chance import Chance

LONGEST = 1_000_000
_TRIES = 100
_NUMBER = r"\d+(?:\.\d+)?"
_FORMS = (
    (re.compile(rf"(?:fixed:)?({_NUMBER})"), "fixed"),
    (re.compile(rf"uniform:({_NUMBER})-({_NUMBER})"), "uniform"),
    (re.compile(rf"normal:({_NUMBER}),({_NUMBER})"), "normal"),
    (re.compile(rf"lognormal:({_NUMBER}),({_NUMBER})"), "lognormal"),
)
FORMS = "128, uniform:64-256, normal:128,32, lognormal:128,64, or 0.7*128+0.3*uniform:512-1024"


@dataclass(frozen=True, slots=True)
class Lengths:
    """`text`: as it was written. `parts`: (weight, how it is drawn), the weights add up to 1."""

    text: str
    parts: tuple[tuple[float, Callable[[Chance], int]], ...]

    def draw(self, chance: Chance) -> int:
        if len(self.parts) == 1:
            return self.parts[0][1](chance)
        at = chance.uniform()
        for weight, drawn in self.parts[:-1]:
            at -= weight
            if at < 0:
                return drawn(chance)
        return self.parts[-1][1](chance)


def read(text: str) -> Lengths:
    """Raises ValueError with what would be right."""
    parts = []
    for term in text.split("+"):
        weight, star, one = term.rpartition("*")
        try:
            parts.append((float(weight) if star else 1.0, _one(one.strip())))
        except ValueError:
            raise ValueError(f"{term.strip()!r} is no distribution of lengths: {FORMS}") from None
    total = sum(weight for weight, _ in parts)
    if not total > 0 or any(weight < 0 for weight, _ in parts) or not math.isfinite(total):
        raise ValueError(f"the weights of {text!r} must be positive")
    if len(parts) > 1 and "*" not in text:
        raise ValueError(f"a mixture has weights: {FORMS}")
    return Lengths(text, tuple((weight / total, drawn) for weight, drawn in parts))


def _one(text: str) -> Callable[[Chance], int]:
    for form, name in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            figures = [float(figure) for figure in match.groups()]
            if max(figures) > LONGEST or figures[0] < 1:
                raise ValueError(text)
            return _MAKERS[name](*figures)
    raise ValueError(text)


def _fixed(length: float) -> Callable[[Chance], int]:
    whole = int(length)
    return lambda _chance: whole


def _uniform(low: float, high: float) -> Callable[[Chance], int]:
    if high < low:
        raise ValueError(f"{low} to {high}")
    least, count = int(low), int(high) - int(low) + 1
    return lambda chance: least + chance.below(count)


def _normal(mean: float, deviation: float) -> Callable[[Chance], int]:
    return lambda chance: _within(lambda: chance.normal(mean, deviation), mean)


def _lognormal(mean: float, deviation: float) -> Callable[[Chance], int]:
    spread = math.log1p((deviation / mean) ** 2)
    middle, sigma = math.log(mean) - spread / 2, math.sqrt(spread)
    return lambda chance: _within(lambda: math.exp(chance.normal(middle, sigma)), mean)


def _within(draw: Callable[[], float], otherwise: float) -> int:
    for _ in range(_TRIES):
        length = round(draw())
        if 1 <= length <= LONGEST:
            return length
    return max(1, round(otherwise))


_MAKERS: dict[str, Callable[..., Callable[[Chance], int]]] = {
    "fixed": _fixed,
    "uniform": _uniform,
    "normal": _normal,
    "lognormal": _lognormal,
}
