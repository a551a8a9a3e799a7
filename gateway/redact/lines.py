"""Blocks of JSON lines, as the log writes them: looked through at once, line by line only on suspicion.

A line keeps its shape: its strings are redacted one by one, as what they say, not as JSON spells them.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.redact.engine import Redactor
from gateway.redact.machine import long_word

WHO: Final = frozenset({"tenant", "peer"})
OURS: Final = frozenset({"ts", "level", "event", "request_id"}) | WHO
"""Fields that only we fill, and the two that say who asked: written as they are."""


class Lines:
    """`exempt`: names of a line's own fields that are written as they are."""

    def __init__(self, redactor: Redactor, exempt: frozenset[str] = OURS) -> None:
        self.redactor = redactor
        self._exempt = exempt
        self._who = tuple(b'"%b":"' % name.encode() for name in sorted(WHO & exempt))
        self._hint = redactor.table.hint

    def block(self, block: bytes) -> bytes:
        """Whole lines, each ending in a newline -> as many."""
        try:
            if long_word(block):
                return b"".join(map(self._line, block.splitlines(keepends=True)))
            return self._hinted(block)
        except Exception:  # noqa: BLE001 - what could not be looked through is not written
            return b"".join(self._hidden() for _ in block.splitlines())

    def _hinted(self, block: bytes) -> bytes:
        """Only lines in which something is found are looked at more closely."""
        if self._hint is None or self._hint.search(self._without_who(block)) is None:
            return block
        return b"".join(
            line if self._hint.search(self._without_who(line)) is None else self._line(line)
            for line in block.splitlines(keepends=True)
        )

    def _without_who(self, block: bytes) -> bytes:
        """What is to be searched: lines without the values that say who asked, which are often addresses.

        Only where nothing is escaped and nothing nested: there a quoted name with its colon is a line's own.
        """
        if b"\\" in block or b"[" in block or block.count(b"{") != max(1, block.count(b"\n")):
            return block
        for name in self._who:
            first, *others = block.split(name)
            if others:
                block = first + name.join([b"", *[other[other.find(b'"') :] for other in others]])
        return block

    def facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The values of one line. Numbers on the top are ours."""
        redact, exempt = self.redactor.value, self._exempt
        return {
            name: value if name in exempt or isinstance(value, int | float) else redact(value)
            for name, value in facts.items()
        }

    def _line(self, line: bytes) -> bytes:
        try:
            facts = orjson.loads(line)
            return orjson.dumps(self.facts(facts), option=orjson.OPT_APPEND_NEWLINE)
        except Exception:  # noqa: BLE001 - as above
            return self._hidden()

    def _hidden(self) -> bytes:
        self.redactor.counts["failed"] += 1
        return b'{"level":"error","event":"line_hidden","why":"it could not be redacted"}\n'
