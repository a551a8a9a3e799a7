"""Backends' replies, read without I/O: feed(bytes) -> ReplyHead | bytes | END | Broken.

Rule 1: 1xx are skipped, at most 16 of them. 101 was never asked for.
Rule 2: a reply ends by content-length, by its last chunk, or by the connection's end.
        Replies to HEAD, 204 and 304 have no body.
Rule 3: one byte behind the end, and the connection is not `clean`: nothing is ever read from it again.
"""

from __future__ import annotations

from typing import Final

import httptools

from gateway.wire.framing import SIZES
from gateway.wire.request import END, End

__all__ = ["END", "Broken", "End", "Event", "ReplyHead", "ResponseReader"]

HEAD_BYTES: Final = 128 * 1024
"""A reply's head, and all 1xx before it."""
_CR: Final = 0x0D
_LF: Final = 0x0A
INTERIM_REPLIES: Final = 16


class ReplyHead:
    """Names in lower case. `length` is None for chunked and close-delimited bodies."""

    __slots__ = ("headers", "length", "status")

    def __init__(self, status: int, headers: tuple[tuple[bytes, bytes], ...], length: int | None) -> None:
        self.status = status
        self.headers = headers
        self.length = length

    def __repr__(self) -> str:
        return f"ReplyHead({self.status}, {self.headers!r}, {self.length!r})"


class Broken:
    """The reply cannot be read to an honest end."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"Broken({self.reason!r})"


Event = ReplyHead | bytes | End | Broken


class ResponseReader:
    """The replies of one connection, one after the other: `begin` before each."""

    __slots__ = (
        "_at_size",
        "_begun",
        "_between",
        "_chunked",
        "_events",
        "_extra",
        "_fresh",
        "_head",
        "_head_bytes",
        "_head_only",
        "_headers",
        "_interim",
        "_keep_alive",
        "_parser",
        "done",
    )

    def __init__(self) -> None:
        self._fresh = True
        self._extra = False
        self._keep_alive = True
        self._parser = httptools.HttpResponseParser(self)
        self.begin(head_only=False)

    def begin(self, *, head_only: bool) -> None:
        """A request was sent on this (clean) connection: read its reply next."""
        if not self._fresh:
            self._parser = httptools.HttpResponseParser(self)
            self._fresh = True
        self._head_only = head_only
        self._events: list[Event] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._head: ReplyHead | None = None
        self._chunked = False
        self._at_size = False
        """The parser was last told of a head's or a chunk's end."""
        self._between = False
        """... and of nothing behind it: the next byte is a chunk's size."""
        self._interim = 0
        self._head_bytes = 0
        self._begun = False
        self.done = False

    @property
    def begun(self) -> bool:
        """At least one byte of the reply has come."""
        return self._begun

    @property
    def clean(self) -> bool:
        """The reply is complete and the connection may carry another request."""
        return self.done and self._keep_alive and not self._extra

    @property
    def overrun(self) -> bool:
        """Something came behind the reply's end: the end may be in the wrong place."""
        return self._extra

    def chunks(self, data: bytes) -> bytes | None:
        """What `data` carries, when it is whole chunks of the body and nothing else. None: `feed` it.

        That is how streams come. The parser need not hear of it: it waits for a chunk's size before as
        behind. Sizes that are not written as everybody writes them are for the parser to judge.
        """
        if not self._between:
            return None
        size = len(data)
        piece, at = b"", 0
        more: list[bytes] | None = None
        while at < size:
            start = data.find(b"\n", at) + 1
            if not start:
                return None
            end = start + SIZES.get(data[at:start], size)
            if end + 2 > size or data[end] != _CR or data[end + 1] != _LF:
                return None
            if not piece:
                piece = data[start:end]
            elif more is None:
                more = [piece, data[start:end]]
            else:
                more.append(data[start:end])
            at = end + 2
        return piece if more is None else b"".join(more)

    def feed(self, data: bytes) -> list[Event]:
        self._begun = True
        if self.done:
            self._extra = True
            return []
        events: list[Event] = []
        self._events = events
        in_head = self._head is None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break("it switches protocols, which was not asked for")
        except httptools.HttpParserError as error:
            self._break(f"it is not valid HTTP ({error})")
        if in_head and self._head is None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._break(f"its head is larger than {HEAD_BYTES} bytes")
        # A size line that has begun does not end so: it would have been told of, or is not valid.
        self._between = self._at_size and not self.done and data.endswith(b"\r\n")
        return events

    def eof(self) -> list[Event]:
        """The backend closed its side."""
        self._keep_alive = False
        if self.done:
            return []
        events: list[Event] = []
        self._events = events
        if self._head is not None and self._head.length is None and not self._chunked:
            self._end()
        else:
            self._break("the connection ended before the reply did")
        return events

    def _break(self, reason: str) -> None:
        """After the end it is only the connection that is lost, not the reply."""
        if self.done:
            self._extra = True
        else:
            self.done = True
            self._extra = True
            self._events.append(Broken(reason))

    def _end(self) -> None:
        self.done = True
        self._events.append(END)

    # httptools calls these.

    def on_message_begin(self) -> None:
        if self.done:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.done:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.done:
            self._extra = True
            return
        status = self._parser.get_status_code()
        headers = tuple(self._headers)
        self._headers = []
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > INTERIM_REPLIES:
                self._break("it sends interim replies that were not asked for")
            return
        length: int | None = None
        size = 0
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    self._break(f"its transfer-encoding is {value[:40].decode('latin-1')!r}")
                    return
                self._chunked = True
        if size > HEAD_BYTES:
            self._break(f"its head is larger than {HEAD_BYTES} bytes")
            return
        bodiless = self._head_only or status in {204, 304}
        self._head = ReplyHead(status, headers, length if not bodiless or self._head_only else 0)
        self._events.append(self._head)
        self._at_size = self._chunked
        if self._head_only:
            self._keep_alive = self._parser.should_keep_alive() and (length is not None or self._chunked)
            self._fresh = False  # the parser would wait for the body that HEAD does not have
            self._end()

    def on_chunk_header(self) -> None:
        self._at_size = False

    def on_chunk_complete(self) -> None:
        self._at_size = True

    def on_body(self, data: bytes) -> None:
        if self.done:
            self._extra = True
        else:
            self._events.append(data)

    def on_message_complete(self) -> None:
        if self._head is None:
            return  # of a 1xx
        if not self.done:
            self._keep_alive = self._parser.should_keep_alive()
            self._end()
