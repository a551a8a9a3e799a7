"""Bytes in, redacted bytes out: the same however they are cut. Sans-I/O.

    feed(piece) -> what is certain by now        finish() -> the rest

States: reading; inside a private key (PEM) until its end; inside a word too long to be looked through.

How little is held back. Let q be the last break that has come. All words before q are complete, and a match
that begins SPAN bytes before q is complete as well (patterns.py, rules 1 and 2). So what lies before the last
break p with p + SPAN < q can go out: nothing to come changes it. A word may grow to WORD_BYTES, then it is
hidden whole; so at most SPAN + 2 * WORD_BYTES and one piece are held.

A match that fails its check is looked at again for the other kinds, then the search goes on one byte further:
heads are bounded, so that is a constant number of looks a byte, and RE2 itself is linear.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import re2

from gateway.redact.patterns import PATTERNS, PEM, PEM_END, PEM_END_BYTES, SPAN, WORD_CHARS, Kind, Pattern

WORD_BYTES: Final = 8192
"""A longer word is nobody's prose: packed data, an image. It is hidden whole, as `long`."""
SECRET_BYTES_MIN: Final = 8
"""Shorter secrets are no secrets, and would hide half of the text."""

_BREAKS: Final = bytes(32 if byte not in WORD_CHARS else 97 for byte in range(256))
"""For bytes.translate: a space for what ends a word, `a` for the rest."""


_LEADING: Final = re.compile(rb"\\[bB](?![|)]|$)")
_ESCAPED: Final = rb"(?:%b|\\[a-z]|\\u00[0-9a-f][0-9a-f])"


class Table:
    """The patterns of some kinds, compiled. Raises re2.error for a pattern that is none."""

    def __init__(self, kinds: Iterable[Kind], secrets: Iterable[str] = ()) -> None:
        wanted = frozenset(kinds)
        known = [Pattern("known", "key", piece[:1], re2.escape(piece)) for piece in _pieces(secrets)]
        chosen = [pattern for pattern in PATTERNS if pattern.kind in wanted]
        self.patterns: Sequence[Pattern] = (*known, *chosen)
        self.any: Any = None
        """All at once: where a likeness begins."""
        self.hint: Any = None
        """The same in JSON text, where an escape such as `\\n` may stand in place of a boundary."""
        if self.patterns:
            sources = [pattern.source for pattern in self.patterns]
            self.any = _compiled(b"|".join(b"(?:%b)" % source for source in sources))
            loose = [_LEADING.sub(lambda found: _ESCAPED % found[0], source) for source in sources]
            self.hint = _compiled(b"|".join(b"(?:%b)" % source for source in loose))
        each = [(pattern, _compiled(pattern.source)) for pattern in self.patterns]
        self._by_first = [[pair for pair in each if byte in pair[0].first] for byte in range(256)]
        self.pem_end = _compiled(PEM_END)

    def passes(self, data: bytes) -> bool:
        """Nothing in it looks like anything: the usual case, told in one search."""
        return not long_word(data) and (self.any is None or self.any.search(data) is None)

    def judge(self, data: bytes, at: int) -> tuple[Pattern, int] | None:
        """Which pattern it is that begins there, if it passes its check, and where it ends."""
        for pattern, compiled in self._by_first[data[at]]:
            found = compiled.match(data, at)
            if found is not None and (size := pattern.check(found[0])):
                return pattern, at + size
        return None


def _compiled(source: bytes) -> Any:
    """Without groups: those cost RE2 twenty times the search."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    return re2.compile(source, options)


def _pieces(secrets: Iterable[str]) -> list[bytes]:
    """Secrets as the patterns' rules allow them, none longer than SPAN; the longest first."""
    found = set()
    for secret in secrets:
        data = secret.encode()
        if len(data) >= SECRET_BYTES_MIN:
            count = -(-len(data) // (SPAN - 1))
            size = -(-len(data) // count)
            found |= {data[at : at + size] for at in range(0, len(data), size)}
    return sorted(found, key=lambda piece: (-len(piece), piece))


def _never() -> None:
    """No limit."""


class Machine:
    """One text. What was found is counted in `counts`, by kind."""

    def __init__(self, table: Table, counts: Counter[str], tick: Callable[[], None] = _never) -> None:
        self._table = table
        self._tick = tick
        """Called at each likeness; it may raise, to end what takes too long."""
        self.counts = counts
        self._held = b""
        """Not out yet, but for its first byte where there is context."""
        self._context = 0
        """Bytes of `_held` that are out: 0 or 1. They are looked at, never written again."""
        self._state = "reading"

    def feed(self, piece: bytes) -> bytes:
        self._held += piece
        return self._run(final=False)

    def finish(self) -> bytes:
        return self._run(final=True)

    @property
    def held(self) -> int:
        """Bytes."""
        return len(self._held)

    def _run(self, *, final: bool) -> bytes:
        out: list[bytes] = []
        going = True
        while going:
            if self._state == "key":
                going = self._skip_key(final=final)
            elif self._state == "word":
                going = self._skip_word()
            else:
                going = self._read(out, final=final)
        return b"".join(out)

    def _skip_key(self, *, final: bool) -> bool:
        end = self._table.pem_end.search(self._held)
        if end is not None:
            self._drop(end.end())
            self._state = "reading"
            return True
        self._held = b"" if final else self._held[-(PEM_END_BYTES - 1) :]
        self._context = 0
        return False

    def _skip_word(self) -> bool:
        marks = self._held.translate(_BREAKS)
        end = marks.find(b" ", self._context)
        if end < 0:
            self._held, self._context = b"", 0
            return False
        self._drop(end)
        self._state = "reading"
        return True

    def _drop(self, end: int) -> None:
        """All before `end` is dealt with; the last byte of it stays, to be looked at."""
        self._context = 1 if end else 0
        self._held = self._held[max(0, end - 1) :]

    def _read(self, out: list[bytes], *, final: bool) -> bool:
        """True: the state has changed, and there may be more to do."""
        data, begin = self._held, self._context
        marks = data.translate(_BREAKS)
        long_at = _long_word(marks, begin)
        if long_at is not None:
            view, limit = data[:long_at], long_at
        elif final:
            view, limit = data, len(data)
        else:
            last = marks.rfind(b" ", begin)
            limit = marks.rfind(b" ", begin, max(begin, last - SPAN)) if last >= 0 else -1
            if limit < 0:
                return False
            view = data[: last + 1]
        at, opened = self._scan(view, begin, limit, out)
        if opened:
            self._drop(at)
            self._state = "key"
            return True
        if long_at is not None:
            self.counts["long"] += 1
            out.append(b"[redacted:long]")
            self._drop(long_at)
            self._state = "word"
            return True
        self._drop(at) if not final else self._clear()
        return False

    def _clear(self) -> None:
        self._held, self._context = b"", 0

    def _scan(self, view: bytes, begin: int, limit: int, out: list[bytes]) -> tuple[int, bool]:
        """Writes what is certain, to `limit` or a little further. Where it stopped, and whether in a key."""
        table = self._table
        done = at = begin
        while table.any is not None and at < limit:
            match = table.any.search(view, at)
            if match is None or match.start() >= limit:
                break
            self._tick()
            judged = table.judge(view, match.start())
            if judged is None:
                at = match.start() + 1
                continue
            pattern, end = judged
            out.append(view[done : match.start()])
            out.append(b"[redacted:%b]" % pattern.kind.encode())
            self.counts[pattern.kind] += 1
            done = at = end
            if pattern is PEM:
                return end, True
        if done < limit:
            out.append(view[done:limit])
            done = limit
        return done, False


def long_word(data: bytes) -> bool:
    """Is there a word that would be hidden for its length?"""
    return len(data) > WORD_BYTES and _long_word(data.translate(_BREAKS), 0) is not None


def _long_word(marks: bytes, begin: int) -> int | None:
    """Where the first word of more than WORD_BYTES begins."""
    at = begin
    while len(marks) - at > WORD_BYTES:
        last = marks.rfind(b" ", at, at + WORD_BYTES + 1)
        if last < 0:
            return at
        at = last + 1
    return None
