"""Chunked request bodies, strictly (RFC 9112, 7.1): the body's length is what is smuggled.

Rule 1: a size is 1 to 16 hex digits; extensions and trailers are checked, bounded and dropped.
Rule 2: every line ends in CRLF, and so does every chunk's data.
Rule 3: the work is bounded: many tiny chunks are refused.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.wire.errors import Refused

LINE_BYTES: Final = 4 * 1024
"""A size with its extensions, or one trailer."""
TRAILER_BYTES: Final = 8 * 1024
TINY_CHUNKS: Final = 4096
"""So many chunks are free; beyond, their mean must be TINY_BYTES or more."""
TINY_BYTES: Final = 16

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_PARTIAL: Final = re.compile(rb"[0-9A-Fa-f]{0,16}(?:[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")

_LINE, _DATA, _DATA_END, _TRAILERS = range(4)


class Chunked:
    """The reader of one body."""

    __slots__ = ("_buffer", "_chunks", "_left", "_state", "_taken", "_trailer_bytes", "done", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._state = _LINE
        self._left = 0
        self._chunks = 0
        self._taken = 0
        self._trailer_bytes = 0
        self.done = False
        self.rest = b""
        """What came after the end: the next request's."""

    def feed(self, data: bytes) -> bytes:  # noqa: C901 - one loop, one branch a state
        """The body's bytes in `data`. Raises Refused. After the end, `done` and `rest` say so."""
        buffer = self._buffer + data if self._buffer else data
        at, size, found = 0, len(buffer), []
        while not self.done:
            if self._state == _DATA:
                piece = buffer[at : at + self._left]
                if not piece:
                    break
                at += len(piece)
                self._left -= len(piece)
                found.append(piece)
                if self._left:
                    break
                self._state = _DATA_END
            elif self._state == _DATA_END:
                if not b"\r\n".startswith(buffer[at : at + 2]):
                    raise _bad("a chunk's data must end in CRLF where its size says")
                if size - at < 2:
                    break
                at += 2
                self._state = _LINE
            else:
                end = buffer.find(b"\n", at)
                if end < 0:
                    self._check_partial(buffer[at:])
                    break
                line, at = buffer[at : end + 1], end + 1
                if self._state == _LINE:
                    self._size_line(line)
                else:
                    self._trailer_line(line)
        if self.done:
            self.rest, self._buffer = buffer[at:], b""
        else:
            self._buffer = buffer[at:]
        return found[0] if len(found) == 1 else b"".join(found)

    def _size_line(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line, 0, len(line) - 2) if line.endswith(b"\r\n") else None
        if match is None or len(line) > LINE_BYTES:
            raise _bad("a chunk's size must be 1 to 16 hex digits, then CRLF")
        self._left = int(match[1], 16)
        self._state = _DATA if self._left else _TRAILERS
        self._chunks += 1
        self._taken += self._left
        if self._chunks > TINY_CHUNKS and self._taken < self._chunks * TINY_BYTES:
            raise _bad("the body comes in too many tiny chunks; send larger ones, or a content-length")

    def _trailer_line(self, line: bytes) -> None:
        if line == b"\r\n":
            self.done = True
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > TRAILER_BYTES or len(line) > LINE_BYTES:
            raise _bad("the trailers are too large")
        if not line.endswith(b"\r\n") or _TRAILER.fullmatch(line, 0, len(line) - 2) is None:
            raise _bad("a trailer is not `name: value` and CRLF")

    def _check_partial(self, line: bytes) -> None:
        if len(line) > LINE_BYTES or (self._state == _LINE and _PARTIAL.fullmatch(line) is None):
            raise _bad("a chunk's size must be 1 to 16 hex digits, then CRLF")


def _bad(message: str) -> Refused:
    return Refused(400, "invalid_request", f"The chunked body is malformed: {message}.")
