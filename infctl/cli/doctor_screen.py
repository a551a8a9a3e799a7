"""Findings as lines, a check a line: what is not as it should be with why, what to do and where.

What does not apply here is told at the end, a reason a line.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from infctl.cli.text import Paint, plural
from infctl.doctor.finding import Finding, Verdict

SYMBOLS: dict[Verdict, tuple[str, str, str, str]] = {
    "ok": ("✓", "+", "ok", "good"),
    "warning": ("!", "!", "warn", "warning"),
    "failure": ("✗", "x", "FAIL", "error"),
    "skipped": ("-", "-", "skip", "dim"),
}
"""Verdict -> symbol, the same without UTF-8, word, style."""
_WORD = max(len(word) for _, _, word, _ in SYMBOLS.values())
_NARROW = 80
"""Columns below which why and fix begin under the word, not under the finding."""


class Screen:
    def __init__(self, width: int, checks: Sequence[str], *, utf8: bool, paint: Paint) -> None:
        self._width = width
        self._room = max((len(name) for name in checks), default=0)
        self._utf8 = utf8
        self._paint = paint
        self._last = ""
        self._skipped: dict[str, list[str]] = {}
        """Reason -> checks."""

    def head(self, name: str, runtime: str, count: int) -> str:
        parts = [name, *([f"runtime {runtime}"] if runtime else []), plural(count, "check")]
        return f"{self._dot.join(parts)}\n"

    def foot(self, found: Sequence[Finding]) -> str:
        """`2 failures, 1 warning, 14 ok, 3 skipped`."""
        told = [line for reason, checks in self._skipped.items() for line in self._passed(reason, checks)]
        counts = Counter(finding.verdict for finding in found)
        parts = [
            plural(counts["failure"], "failure") if counts["failure"] else "no failure",
            *([plural(counts["warning"], "warning")] if counts["warning"] else []),
            f"{counts['ok']} ok",
            *([f"{counts['skipped']} skipped"] if counts["skipped"] else []),
        ]
        return "\n".join([*told, "", ", ".join(parts)])

    def _passed(self, reason: str, checks: Sequence[str]) -> list[str]:
        symbol, plain, word, style = SYMBOLS["skipped"]
        mark = f"{symbol if self._utf8 else plain} {word:<{_WORD}}"
        first, *rest = self._wrapped(f"{reason} ({', '.join(dict.fromkeys(checks))})", len(mark) + 2)
        return [f"{self._paint(mark, style)}  {first}", *(" " * (len(mark) + 2) + line for line in rest)]

    def lines(self, finding: Finding) -> list[str]:
        """None yet for what was skipped."""
        if finding.verdict == "skipped":
            self._skipped.setdefault(finding.why or finding.what, []).append(finding.check)
            return []
        symbol, plain, word, style = SYMBOLS[finding.verdict]
        mark = f"{symbol if self._utf8 else plain} {word:<{_WORD}}"
        # A check with several findings is named once.
        name = finding.check if finding.check != self._last else ""
        self._last = finding.check
        start = len(mark) + 2 + self._room + 2
        first, *rest = self._wrapped(finding.what, start)
        told = [f"{self._paint(mark, style)}  {name:<{self._room}}  {first}"]
        told += [" " * start + line for line in rest]
        if finding.verdict == "ok":
            more = self._wrapped(finding.why, start) if finding.why else []
            return told + [" " * start + line for line in more]
        inner = start if self._width >= _NARROW else len(mark) + 2
        if finding.why:
            told += self._part("why", finding.why, inner, "dim")
        for line in finding.fix.splitlines():
            told += self._part("fix", line, inner, "hint")
        if finding.where is not None or finding.path:
            place = f"{finding.where}  {finding.path}" if finding.where else f"{finding.path} (not written)"
            told.append(f"{' ' * inner}{self._paint('at ', 'dim')} {place.rstrip()}")
        return told

    def _part(self, label: str, text: str, indent: int, style: str) -> list[str]:
        first, *rest = self._wrapped(text, indent + 4)
        head = " " * indent
        told = [f"{head}{self._paint(label, 'dim')} {self._paint(first, style)}"]
        return told + [f"{head}    {self._paint(line, style)}" for line in rest]

    def _wrapped(self, text: str, indent: int) -> list[str]:
        room = max(self._width - indent, 24)
        # A path or a command that is cut in two can no longer be copied.
        return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]

    @property
    def _dot(self) -> str:
        return " · " if self._utf8 else " - "


def as_data(name: str, runtime: str, found: Sequence[Finding]) -> dict[str, Any]:
    """With the keys of shapes.DOCTOR."""
    counts = Counter(finding.verdict for finding in found)
    return {
        "name": name,
        "runtime": runtime,
        "healthy": counts["failure"] == 0,
        "failures": counts["failure"],
        "warnings": counts["warning"],
        "findings": [_finding(finding) for finding in found],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    where = finding.where
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "what": finding.what,
        "why": finding.why,
        "fix": finding.fix,
        "path": finding.path,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
    }
