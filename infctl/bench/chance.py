"""Random numbers that are the same for the same seed, on every machine and every Python.

Of Python's generator only `random()` is promised to stay as it is: the distributions are made of it here.
"""

from __future__ import annotations

import math
import random


class Chance:
    """One stream of numbers. `purpose` parts the streams: what is drawn for one thing moves no other."""

    __slots__ = ("uniform",)

    def __init__(self, seed: int, *purpose: str | int) -> None:
        name = "/".join(map(str, (seed, *purpose)))
        self.uniform = random.Random(name).random  # noqa: S311 - it is to be guessed
        """A number in [0, 1)."""

    def below(self, end: int) -> int:
        """A whole number in [0, end)."""
        return int(self.uniform() * end)

    def exponential(self, mean: float) -> float:
        return -mean * math.log(1.0 - self.uniform())

    def normal(self, mean: float = 0.0, deviation: float = 1.0) -> float:
        """Box and Muller, 1958."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform()))
        return mean + deviation * radius * math.cos(math.tau * self.uniform())

    def gamma(self, shape: float, scale: float) -> float:
        """Marsaglia and Tsang, 2000; `shape` > 0."""
        if shape < 1.0:
            return self.gamma(shape + 1.0, scale) * math.pow(1.0 - self.uniform(), 1.0 / shape)
        d = shape - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)
        while True:
            x = self.normal()
            v = (1.0 + c * x) ** 3
            if v <= 0.0:
                continue
            u = 1.0 - self.uniform()
            if math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
                return d * v * scale
