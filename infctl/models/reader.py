"""Typed reading of a config's keys: every problem is kept with its place, and reading goes on.

A wrong value is replaced by a stand-in, so that one run finds all that is wrong; `facts` raises at the end.
Absurd sizes are refused here: everything after may multiply them without a second thought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infctl.errors import Problem, Where
from infctl.models.document import PROBLEMS_MAX
from infctl.profile.values import shown

LAYERS_MAX = 2_048
"""The deepest models served have about 130."""
WIDTH_MAX = 2**20
"""Numbers: hidden size, feed-forward width, one head."""
HEADS_MAX = 8_192
EXPERTS_MAX = 65_536
VOCAB_MAX = 2**24
"""Tokens."""
BESIDE = "hf_quant_config.json/"
"""Begins the paths of another file than the one whose places we know."""
CONTEXT_MAX = 2**31
"""Tokens: positions, windows, chunks."""


@dataclass(slots=True)
class Problems:
    """What is wrong with one config. Changed only while that config is read."""

    where: Where
    found: list[Problem] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def add(self, path: str, message: str, hint: str = "") -> None:
        """One problem a path: the first says it."""
        if path not in self.paths and len(self.found) < PROBLEMS_MAX:
            where = None if path.startswith(BESIDE) else self.where(path)
            self.found.append(Problem(message, path, where, hint))
        self.paths.add(path)


@dataclass(frozen=True, slots=True)
class Reader:
    """One mapping of the config. `defaults`: what the family's own code takes for keys that are not there."""

    tree: Mapping[str, Any]
    problems: Problems
    prefix: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """The value, the family's default where none is written, else None."""
        value = self.tree.get(key)
        return self.defaults.get(key) if value is None and key not in self.tree else value

    def path(self, key: str) -> str:
        return f"{self.prefix}{key}"

    def wrong(self, key: str, message: str, hint: str = "") -> None:
        self.problems.add(self.path(key), message, hint)

    def sound(self, *keys: str) -> bool:
        """None of these was complained about."""
        return not any(self.path(key) in self.problems.paths for key in keys)

    def count(self, *keys: str, most: int, least: int = 1, default: int | None = None) -> int:
        """The first of `keys` that is written. None is, and no default: a problem; `least` stands in."""
        key = next((key for key in keys if self.get(key) is not None), None)
        if key is None:
            if default is not None:
                return default
            self.problems.add(
                self.path(keys[0]),
                "is missing",
                f"a whole number from {least:,} to {most:,}"
                + (f"; also read: {', '.join(keys[1:])}" if keys[1:] else ""),
            )
            return least
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            if isinstance(value, float) and value.is_integer() and least <= value <= most:
                return int(value)
            self.wrong(
                key, f"{shown(value)} is not a whole number", f"a whole number from {least:,} to {most:,}"
            )
            return least
        if not least <= value <= most:
            self.wrong(key, f"{_digits(value)} is out of range", f"a whole number from {least:,} to {most:,}")
            return least
        return value

    def maybe(self, key: str, *, most: int, least: int = 1) -> int | None:
        """As `count`; None where the key is missing or null."""
        return None if self.get(key) is None else self.count(key, most=most, least=least)

    def number(self, key: str, default: float) -> float:
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < WIDTH_MAX:
            said = _digits(value) if isinstance(value, int) else shown(value)
            self.wrong(key, f"{said} is not a factor", "a number above 0")
            return default
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(key, f"{shown(value)} is neither true nor false", "true or false")
            return default
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.wrong(key, f"{shown(value)} is not a text", "a word in quotes")
            return default
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where there is none."""
        value = self._list(key)
        if any(not isinstance(item, str) for item in value):
            self.wrong(key, "is not a list of words", "a list of words in quotes")
            return ()
        return tuple(value)

    def whole_numbers(self, key: str, *, most: int) -> tuple[int, ...]:
        """A list of whole numbers from 0; empty where there is none."""
        value = self._list(key)
        if any(
            isinstance(item, bool) or not isinstance(item, int) or not 0 <= item <= most for item in value
        ):
            self.wrong(key, "is not a list of whole numbers", f"whole numbers from 0 to {most:,}")
            return ()
        return tuple(value)

    def below(self, key: str) -> Reader | None:
        """The mapping under a key; None where there is none."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.wrong(key, f"{shown(value)} is not a mapping", "a mapping in braces, or leave it out")
            return None
        return Reader(value, self.problems, f"{self.path(key)}/")

    def _list(self, key: str) -> Sequence[Any]:
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            self.wrong(key, f"{shown(value)} is not a list", "a list in brackets, or leave it out")
            return ()
        return value


def _digits(value: int) -> str:
    return f"{value:,}" if abs(value) < 10**18 else "a number of that size"
