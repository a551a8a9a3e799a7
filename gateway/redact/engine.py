"""`Redactor`: one engine for logs and the audit trail. What cannot be redacted in time is hidden whole."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway.redact.machine import Machine, Table
from gateway.redact.patterns import KINDS, Kind

HIDDEN: Final = "[redacted:failed]"
"""In place of a text that took too long, or at which the engine failed."""
BUDGET_S: Final = 2.0
"""For one text, or for one piece of a stream."""
DEPTH: Final = 64
"""Of JSON; what lies deeper is hidden."""
NUMBER_DIGITS_MIN: Final = 9
"""A card may be a JSON number; shorter ones are counts."""


class _Limit:
    """Raises TimeoutError at the first look behind the deadline."""

    __slots__ = ("_clock", "_deadline")

    def __init__(self, clock: Callable[[], float], budget_s: float) -> None:
        self._clock = clock
        self._deadline = clock() + budget_s

    def renew(self, budget_s: float) -> None:
        self._deadline = self._clock() + budget_s

    def __call__(self) -> None:
        if self._clock() > self._deadline:
            raise TimeoutError


class Redactor:
    """Safe to share between threads, but for `counts`, which each thread may find a little late.

    `secrets`: values known to this process, hidden wherever they stand, whatever they look like.
    """

    def __init__(
        self,
        kinds: Iterable[Kind] = KINDS,
        secrets: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        budget_s: float = BUDGET_S,
    ) -> None:
        self.table = Table(kinds, secrets)
        self._clock = clock
        self._budget_s = budget_s
        self.counts: Counter[str] = Counter()
        """What was hidden since the start, by kind; `long`: too long a word; `failed`: whole texts."""

    def text(self, text: str) -> str:
        hidden = self.bytes(text.encode("utf-8", "surrogatepass"))
        return hidden.decode("utf-8", "surrogatepass")

    def bytes(self, data: bytes) -> bytes:
        """UTF-8, or anything else."""
        counts: Counter[str] = Counter()
        try:
            if self.table.passes(data):
                return data
            machine = Machine(self.table, counts, _Limit(self._clock, self._budget_s))
            hidden = machine.feed(data) + machine.finish()
        except Exception:  # noqa: BLE001 - whatever it is: what was not looked through is not written
            self.counts["failed"] += 1
            return HIDDEN.encode()
        self.counts.update(counts)
        return hidden

    def value(self, value: Any, depth: int = 0) -> Any:
        """JSON as Python has it: a new value, its strings and keys redacted, and long numbers too."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            text = str(value)
            if len(text) < NUMBER_DIGITS_MIN:
                return value
            hidden = self.text(text)
            return value if hidden == text else hidden
        if depth >= DEPTH:
            self.counts["failed"] += 1
            return HIDDEN
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, depth + 1) for item in value]
        return self.text(str(value))

    def stream(self) -> Stream:
        return Stream(self, _Limit(self._clock, self._budget_s), self._budget_s)


class Stream:
    """One text that comes in pieces. The pieces that go out make what `Redactor.text` makes of the whole.

    After a failure nothing more comes out than that it failed.
    """

    def __init__(self, redactor: Redactor, limit: _Limit, budget_s: float) -> None:
        self._redactor = redactor
        self._limit = limit
        self._budget_s = budget_s
        self._machine = Machine(redactor.table, redactor.counts, limit)
        self._failed = False

    def feed(self, piece: bytes) -> bytes:
        return self._guarded(lambda: self._machine.feed(piece))

    def finish(self) -> bytes:
        return self._guarded(self._machine.finish)

    @property
    def held(self) -> int:
        """Bytes that wait to be certain."""
        return 0 if self._failed else self._machine.held

    def _guarded(self, step: Callable[[], bytes]) -> bytes:
        if self._failed:
            return b""
        self._limit.renew(self._budget_s)
        try:
            return step()
        except Exception:  # noqa: BLE001 - as in Redactor.bytes
            self._failed = True
            self._redactor.counts["failed"] += 1
            return HIDDEN.encode()
