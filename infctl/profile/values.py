"""Human values: how a person writes a duration, a size, a count, a share, and how it is written back.

A parser takes what YAML gave and returns the number a program uses, or raises `Misfit` with what would be
right.
A formatter gives the canonical text: the shortest exact one, so that `parse(format(x)) == x`.
"""

from __future__ import annotations

import math
import re

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION_PART = re.compile(_NUMBER + r"\s*(ms|s|min|m|h|d)")
_SIZE = re.compile(_NUMBER + r"\s*([KMGT]i?B|kB|B)")
_COUNT = re.compile(_NUMBER + r"\s*([kKMBG]?)")
_PERCENT = re.compile(_NUMBER + r"\s*%")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES = {
    "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_COUNTS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9}

_DURATIONS = "a number with ms, s, min, h or d: 500ms, 2s, 90min, 1h30m"
_SIZES = "a number with KiB, MiB, GiB (or kB, MB, GB): 8MiB, 1GiB"
_WHOLES = "a whole number, with k, M or B if you like: 8192, 100k, 10M"

DURATION_PATTERN = r"^(\d+(\.\d+)?\s*(ms|s|min|m|h|d)\s*)+$"
SIZE_PATTERN = r"^\d+(\.\d+)?\s*([KMGT]i?B|kB|B)$"
COUNT_PATTERN = r"^\d+(\.\d+)?\s*[kKMBG]?$"
PERCENT_PATTERN = r"^\d+(\.\d+)?\s*%$"


class Misfit(Exception):  # noqa: N818 - it is a value that does not fit, raised and caught in this package only
    """What is wrong with one value, and an example of what would be right."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def shown(value: object) -> str:
    """A value as it may be repeated in a message: short, on one line, its kind visible."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        text = value if len(value) <= 40 else value[:37] + "..."
        return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) + '"'
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def duration(value: object) -> float:
    """`2s`, `500ms`, `90min`, `1h30m`, or a bare number of seconds -> seconds."""
    if (number := _bare(value)) is not None:
        return number
    if isinstance(value, str):
        text = value.strip()
        parts = _DURATION_PART.findall(text)
        if parts and not _DURATION_PART.sub("", text).strip():
            # Rounded to the microsecond, so that 0.1 + 0.2 style noise never reaches a rendered file.
            return round(sum(float(n) * _SECONDS[unit] for n, unit in parts), 6)
    raise Misfit(
        f"{shown(value)} is not a duration", "a number with ms, s, min, h or d: 500ms, 2s, 90min, 1h30m"
    )


def size(value: object) -> int:
    """`8MiB`, `1.5GiB`, `500MB`, or a bare number of bytes -> bytes."""
    return _whole(
        value, _SIZE, _BYTES, "a size in bytes", "a number with KiB, MiB, GiB (or kB, MB, GB): 8MiB, 1GiB"
    )


def count(value: object) -> int:
    """`10M`, `100k`, `1.5M`, or a bare number -> the number."""
    return _whole(
        value, _COUNT, _COUNTS, "a count", "a whole number, with k, M or B if you like: 8192, 100k, 10M"
    )


def percent(value: object) -> float:
    """`99.9%`, or a bare fraction 0.999 -> the fraction."""
    if (number := _bare(value)) is not None:
        return number
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        # Division of the decimal text, not of its binary neighbour: 99.9% is the float nearest to 0.999.
        return float(f"{match[1]}e-2")
    raise Misfit(f"{shown(value)} is not a share", "a percentage or a fraction: 99.9%, 0.999")


def format_duration(seconds: float) -> str:
    milliseconds = round(seconds * 1000, 3)
    if milliseconds != int(milliseconds):
        return f"{_plain(milliseconds)}ms"
    left = int(milliseconds)
    if left == 0:
        return "0s"
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if left % length == 0:
            return f"{left // length}{unit}"
    return f"{_plain(left / 1000)}s" if left >= 1000 else f"{left}ms"


def format_size(number: int) -> str:
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if number and number % _BYTES[unit] == 0:
            return f"{number // _BYTES[unit]}{unit}"
    return f"{number}B"


def format_count(number: int) -> str:
    for unit in ("M", "k"):
        if number and number % _COUNTS[unit] == 0:
            return f"{number // _COUNTS[unit]}{unit}"
    return str(number)


def format_percent(fraction: float) -> str:
    return f"{_plain(round(fraction * 100, 10))}%"


def _bare(value: object) -> float | None:
    """A number without a unit. True is no number, though Python thinks so."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _whole(value: object, pattern: re.Pattern[str], units: dict[str, int], what: str, hint: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := pattern.fullmatch(value.strip())):
        number, unit = match[1], units[match[2]]
        whole, _, fraction = number.partition(".")
        scaled = int(whole + fraction) * unit
        if len(number) <= 30 and scaled % 10 ** len(fraction) == 0:
            return int(scaled // 10 ** len(fraction))
    raise Misfit(f"{shown(value)} is not {what}", hint)


def _plain(number: float) -> str:
    text = f"{number:.10f}".rstrip("0").rstrip(".")
    return text or "0"
