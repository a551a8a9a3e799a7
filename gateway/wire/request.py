"""Requests, read strictly and without I/O: feed(bytes) -> RequestHead | bytes | END | Refused.

httptools reads the head; what it lets through is refused here, because a gateway and its backends must never
disagree about where a request ends or whom it is for.

Rule 1: one message at a time. Bytes behind its end wait until `resume`.
Rule 2: a head is judged whole, and early only where it can no longer become right.
Rule 3: a body's length has one source: one content-length, or `transfer-encoding: chunked` in HTTP/1.1.
Rule 4: after Refused nothing more is read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import httptools

from gateway.config import HttpLimits
from gateway.wire.chunked import Chunked
from gateway.wire.errors import Refused

__all__ = ["END", "End", "Event", "Refused", "RequestHead", "RequestReader"]


_Pairs = list[tuple[bytes, bytes]]


class End:
    """The request is complete."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "END"


END: Final = End()


class RequestHead:
    """A head that passed the guard. Header names are in lower case; those with `_` are left out."""

    __slots__ = (
        "_index",
        "_pairs",
        "chunked",
        "content_length",
        "expect_continue",
        "http10",
        "keep_alive",
        "method",
        "path",
        "query",
    )

    def __init__(self, line: RequestLine, index: dict[bytes, bytes], pairs: _Pairs | None = None) -> None:
        """`pairs`: where a name comes more than once, all headers."""
        self.method, self.path, self.query, self.http10, _ = line
        self._index = index
        self._pairs = pairs
        self.content_length: int | None = None
        self.chunked = False
        self.expect_continue = False
        self.keep_alive = not line.http10

    def get(self, name: bytes) -> bytes | None:
        """The value of the first header of that name (lower case)."""
        return self._index.get(name)

    def put(self, name: bytes, value: bytes | None) -> None:
        """What `get` answers from now on, whatever came; None: nothing."""
        if value is None:
            self._index.pop(name, None)
        else:
            self._index[name] = value

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """All, in the order they came."""
        return tuple(self._index.items() if self._pairs is None else self._pairs)

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {self.path!r}, {self.query!r}, {self.headers!r})"


Event = RequestHead | bytes | End | Refused


class RequestLine(NamedTuple):
    method: bytes
    path: bytes
    query: bytes
    http10: bool
    authority: bytes | None
    """From an absolute target."""


_HEAD, _SIZED, _CHUNKED, _DONE, _DEAD = range(5)
_MAX_DIGITS: Final = 18
_LEADING_CRLF: Final = 4
_ONCE: Final = (
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"authorization",
    b"expect",
    b"content-type",
)
_LISTS: Final = (b"connection", b"x-forwarded-for")
"""Read as one list however many lines: some proxies add their own line behind what the client wrote."""
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE: Final = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/([0-9]+)\.([0-9]+)" % _TOKEN)
_ABSOLUTE: Final = re.compile(rb"https?://([A-Za-z0-9._~\-\[\]:%]+)(/[^?#]*)?(\?.*)?", re.IGNORECASE)
_HOST: Final = re.compile(rb"[A-Za-z0-9._~\-\[\]:%!$&'()*+,;=]*")
_CACHED_BYTES: Final = 256
"""Only short request lines and hosts are remembered: at most 128 KiB of each."""
_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))


@lru_cache(maxsize=512)
def _is_host_again(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


def _is_host(host: bytes) -> bool:
    return _is_host_again(host) if len(host) <= _CACHED_BYTES else _HOST.fullmatch(host) is not None


def _bad(message: str) -> Refused:
    return Refused(400, "invalid_request", message)


def read_line(line: bytes) -> RequestLine:
    """A request line without its CRLF. Raises Refused."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise _bad("The request line is not `METHOD target HTTP/1.1`.")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in {b"0", b"1"}:
        raise Refused(505, "http_version_not_supported", "Only HTTP/1.1 and HTTP/1.0 are served here.")
    if method in {b"CONNECT", b"TRACE"}:
        raise Refused(405, "method_not_allowed", f"{method.decode()} is not served here.")
    if method not in _METHODS:
        raise Refused(501, "method_not_implemented", "The method is not known here.")
    authority = None
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise _bad("The request's target must be a path.")
        authority = absolute[1]
        target = (absolute[2] or b"/") + (absolute[3] or b"")
    path, _, query = target.partition(b"?")
    if b"#" in target:
        raise _bad("The request's target holds a fragment (#).")
    return RequestLine(method, path, query, minor == b"0", authority)


_read_line_again = lru_cache(maxsize=512)(read_line)


class RequestReader:
    """The requests of one connection, one after the other."""

    __slots__ = (
        "_body",
        "_buffer",
        "_found",
        "_left",
        "_limits",
        "_parser",
        "_skipped",
        "_state",
        "_upgraded",
    )

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._state = _HEAD
        self._buffer = b""
        self._left = 0
        self._skipped = 0
        self._body: Chunked | None = None
        self._renew_parser()

    @property
    def done(self) -> bool:
        """The message is complete: `feed` now only keeps bytes until `resume`."""
        return self._state >= _DONE

    @property
    def held(self) -> int:
        """Bytes kept for later, or of a head that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """What `data` completes, in order. At most one message: the rest waits for `resume`."""
        state = self._state
        if state == _HEAD:
            return self._feed_head(self._buffer + data if self._buffer else data)
        if state == _SIZED:
            return self._feed_sized(data)
        if state == _CHUNKED:
            return self._feed_chunked(data)
        if state == _DONE:
            self._buffer = self._buffer + data if self._buffer else data
        return []

    def resume(self) -> list[Event]:
        """After END was dealt with: go on to the next message with what has already come."""
        if self._state != _DONE:
            return []
        self._state = _HEAD
        return self._feed_head(self._buffer) if self._buffer else []

    def _renew_parser(self) -> None:
        self._found: dict[bytes, bytes] = {}
        self._parser = httptools.HttpRequestParser(_Callbacks(self._found.__setitem__))
        self._upgraded = False

    def _feed_head(self, buffer: bytes) -> list[Event]:
        while buffer.startswith(b"\r\n") and self._skipped < _LEADING_CRLF:  # RFC 9112, 2.2
            buffer = buffer[2:]
            self._skipped += 1
        end = buffer.find(b"\r\n\r\n") + 4
        try:
            if end < 4:
                self._check_partial(buffer)
                self._buffer = buffer
                return []
            head = self._judge(buffer[:end])
        except Refused as refused:
            return [self._die(refused)]
        self._skipped = 0
        rest = buffer[end:] if len(buffer) > end else b""
        self._buffer = b""
        if head.chunked:
            self._state, self._body = _CHUNKED, Chunked()
            return [head, *(self._feed_chunked(rest) if rest else ())]
        self._left = head.content_length or 0
        if self._left:
            self._state = _SIZED
            return [head, *(self._feed_sized(rest) if rest else ())]
        self._state, self._buffer = _DONE, rest
        return [head, END]

    def _feed_sized(self, data: bytes) -> list[Event]:
        left = self._left - len(data)
        if left < 0:
            data, self._buffer = data[: self._left], data[self._left :]
        if not self._upgraded:
            # The parser has no body callback: this only tells it where the next head begins.
            self._parser.feed_data(data)
        if left > 0:
            self._left = left
            return [data]
        self._left, self._state = 0, _DONE
        return [data, END]

    def _feed_chunked(self, data: bytes) -> list[Event]:
        body = self._body
        assert body is not None  # noqa: S101 - the state says so
        try:
            piece = body.feed(data)
        except Refused as refused:
            return [self._die(refused)]
        found: list[Event] = [piece] if piece else []
        if body.done:
            self._buffer, self._body, self._state = body.rest, None, _DONE
            self._renew_parser()  # the old one still waits for the chunks
            found.append(END)
        return found

    def _die(self, refused: Refused) -> Refused:
        self._state, self._buffer, self._body = _DEAD, b"", None
        return refused

    def _check_partial(self, buffer: bytes) -> None:
        """Refuse a head that can no longer become right, so that nobody waits for its time-out."""
        ends = buffer.count(b"\r\n")
        if buffer.count(b"\n") != ends or buffer.count(b"\r", 0, len(buffer) - 1) > ends:
            raise _bad("Lines must end in CRLF: a lone CR or LF was found.")
        if ends:
            line = buffer[: buffer.index(b"\r\n")]
            self._check_sizes(len(line), len(buffer), ends - 1)
            read_line(line)
        elif buffer:
            self._check_sizes(len(buffer), len(buffer), 0)
            if re.match(_TOKEN, buffer) is None:
                raise _bad("The request line is not `METHOD target HTTP/1.1`.")

    def _check_sizes(self, line: int, head: int, lines: int) -> None:
        limits = self._limits
        if line > limits.line_bytes:
            raise Refused(414, "uri_too_long", f"The request line is longer than {limits.line_bytes} bytes.")
        if head > limits.header_bytes:
            raise Refused(
                431, "headers_too_large", f"The headers are larger than {limits.header_bytes} bytes."
            )
        if lines > limits.header_count:
            raise Refused(431, "too_many_headers", f"There are more than {limits.header_count} headers.")

    def _judge(self, raw: bytes) -> RequestHead:
        """One whole head -> RequestHead. Raises Refused."""
        limits = self._limits
        line_end = raw.index(b"\r\n")
        if len(raw) > limits.header_bytes or line_end > limits.line_bytes:
            self._check_sizes(line_end, len(raw), 0)
        line = _read_line_again(raw[:line_end]) if line_end <= _CACHED_BYTES else read_line(raw[:line_end])
        if self._upgraded:  # that parser reads no HTTP any more
            self._renew_parser()
        found = self._found
        found.clear()
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserUpgrade:  # ignored, as RFC 9110 7.8 allows: no answer of ours is a 101
            self._upgraded = True
        except httptools.HttpParserError as error:
            raise _bad(f"The request is not valid HTTP: {error}.") from None
        index, pairs = {name.lower(): value for name, value in found.items()}, None
        count = raw.count(b"\n") - 2
        if len(index) != count:
            pairs = _pairs(raw)
            index, count = _index(pairs), len(pairs)
        if count > limits.header_count:
            self._check_sizes(line_end, len(raw), count)
        each = index.items() if pairs is None else pairs
        if len(raw) > limits.line_bytes and any(len(k) + len(v) > limits.line_bytes for k, v in each):
            raise Refused(431, "headers_too_large", f"A header is longer than {limits.line_bytes} bytes.")
        return _guard(line, index, pairs)


class _Callbacks:
    """What httptools calls. Of the usual head it fills a dict, with no step of Python a header."""

    __slots__ = ("on_header",)

    def __init__(self, on_header: Callable[[bytes, bytes], None]) -> None:
        self.on_header = on_header


def _pairs(raw: bytes) -> _Pairs:
    """All headers of a head that has been found good, those that repeat a name too."""
    found: _Pairs = []
    parser = httptools.HttpRequestParser(_Callbacks(lambda name, value: found.append((name.lower(), value))))
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed_data(raw)
    return found


def _index(pairs: _Pairs) -> dict[bytes, bytes]:
    """The first of each name. Raises Refused for names that must not repeat."""
    index = dict(reversed(pairs))
    if len(index) != len(pairs):
        names = [name for name, _ in pairs]
        for name in _ONCE:
            if names.count(name) > 1:
                raise _bad(f"There is more than one {name.decode()} header.")
        for name in _LISTS:
            if name in index:
                index[name] = b",".join(value for each, value in pairs if each == name)
    return index


def _guard(line: RequestLine, index: dict[bytes, bytes], pairs: _Pairs | None) -> RequestHead:  # noqa: C901 - a list of rules
    if b"".join(index).find(b"_") >= 0:  # `in` would make an error first, and drop it
        index = {name: value for name, value in index.items() if b"_" not in name}
        pairs = pairs and [pair for pair in pairs if b"_" not in pair[0]]
    head = RequestHead(line, index, pairs)
    get = index.get
    _check_host(line, get(b"host"))
    coding = get(b"transfer-encoding")
    length = get(b"content-length")
    if coding is not None:
        if line.http10:
            raise _bad("Transfer-encoding needs HTTP/1.1.")
        if length is not None:
            raise _bad(
                "There is a content-length and a transfer-encoding: the body's end would be ambiguous."
            )
        if coding.lower() != b"chunked":
            raise Refused(
                501, "transfer_encoding_not_supported", "The only transfer-encoding served is `chunked`."
            )
        head.chunked = True
    elif length is not None:
        if not length.isdigit() or len(length) > _MAX_DIGITS:
            raise _bad("The content-length is not a number of bytes.")
        head.content_length = int(length)
    expect = get(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            raise Refused(417, "expectation_failed", "The only expectation met is `100-continue`.")
        head.expect_continue = not line.http10 and head.has_body
    connection = get(b"connection")
    if connection is not None:
        options = [option.strip() for option in connection.lower().split(b",")]
        head.keep_alive = b"close" not in options and (not line.http10 or b"keep-alive" in options)
    return head


def _check_host(line: RequestLine, host: bytes | None) -> None:
    if host is None:
        if not line.http10:
            raise _bad("The host header is missing.")
    elif not _is_host(host):
        raise _bad("The host header is not a host name.")
    if line.authority is not None and (host is None or host.lower() != line.authority.lower()):
        raise _bad("The request's target and its host header name different hosts.")
