"""What goes out, as bytes: status lines, chunks, error bodies. Prepared before the hot path."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import msgspec

STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
CLOSE: Final = b"connection: close\r\n"
KEEP_ALIVE: Final = b"connection: keep-alive\r\n"
"""Only HTTP/1.0 has to be told."""
CHUNKED: Final = b"transfer-encoding: chunked\r\n"
JSON: Final = b"content-type: application/json\r\n"
USUAL_BYTES: Final = 1024
"""Chunks are shorter, nearly always."""
SIZE_LINES: Final = [b"%x\r\n" % length for length in range(USUAL_BYTES)]
SIZES: Final = {line: length for length, line in enumerate(SIZE_LINES) if length}
"""What a usual chunk begins with, as everybody writes it -> its length."""

_CLASSES: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_exceeded",
    503: "overloaded",
}


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status


def bodiless(status: int) -> bool:
    """These have no body and no content-length, whatever the handler says."""
    return status in {204, 304} or status < 200


def chunk(data: bytes) -> bytes:
    """One chunk. `data` must not be empty: an empty chunk is the end."""
    length = len(data)
    return b"%b%b\r\n" % (SIZE_LINES[length] if length < USUAL_BYTES else b"%x\r\n" % length, data)


def date_line(wall: float) -> bytes:
    """`wall`: seconds since 1970."""
    return f"date: {formatdate(wall, usegmt=True)}\r\n".encode()


def error_type(status: int) -> str:
    """The class of an error, for those that have no better word of their own."""
    known = _CLASSES.get(status)
    if known is not None:
        return known
    return "invalid_request_error" if status < 500 else "server_error"


def error_body(message: str, type: str, code: str, param: str | None = None) -> bytes:  # noqa: A002 - the API's word
    """The OpenAI shape: `{"error": {"message", "type", "param", "code"}}`."""
    return msgspec.json.encode({"error": {"message": message, "type": type, "param": param, "code": code}})
