"""Which metrics an expression of PromQL asks for. Pure.

No parser of the language: what is no name is taken out, step by step, and names are what is left. Tests have
a real Prometheus parse every expression as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_BRACES: Final = re.compile(r"\{[^{}]*\}")
_SPANS: Final = re.compile(r"\[[^\[\]]*\]")
_OFFSETS: Final = re.compile(r"\boffset\s+[\w.$]+")
_CLAUSES: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_NAMES: Final = re.compile(r"[a-zA-Z_:][\w:]*(?!\w)(?!\s*\()")
_NUMBERS: Final = re.compile(r"\b\d[\w.]*(?:[eE][+-]?\d+)?\b")
_WORDS: Final = frozenset(
    ["and", "or", "unless", "bool", "by", "without", "group_left", "group_right", "inf", "nan"]
)
_SUFFIXES: Final = ("_bucket", "_count", "_sum")


def metrics_in(expr: str) -> frozenset[str]:
    for pattern in (_STRINGS, _BRACES, _SPANS, _OFFSETS, _CLAUSES, _NUMBERS):
        expr = pattern.sub(" ", expr)
    found = (match[0] for match in _NAMES.finditer(expr))
    return frozenset(name for name in found if name.lower() not in _WORDS and not name.startswith("$"))


def metrics_of(exprs: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*map(metrics_in, exprs))


def family(name: str) -> str:
    """Of a histogram's series: the histogram."""
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name
