"""The tokens a backend says it used: found in the bytes of a reply, and taken out again. Sans-I/O.

The last `"usage"` that is a key is meant: inside a JSON string a quote is escaped, so the text a model writes
cannot look like one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway import strictjson

_KEY: Final = b'"usage"'
_SPACE: Final = b" \t\r\n"


class Usage(msgspec.Struct, frozen=True):
    """Tokens."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    total_tokens: int = 0


class _Piece(msgspec.Struct):
    usage: Usage | None = None
    choices: list[msgspec.Raw] | None = None


_usage: Final = msgspec.json.Decoder(Usage)
_piece: Final = msgspec.json.Decoder(_Piece)


def usage_in(text: bytes) -> Usage | None:
    """The usage in the tail of a reply's JSON, or in one piece of a stream."""
    at = text.rfind(_KEY)
    while at >= 0:
        value = text[at + len(_KEY) :].lstrip(_SPACE)
        if value[:1] == b":":
            value = value[1:].lstrip(_SPACE)
            try:
                return _usage.decode(value[: _end_of_object(value)]) if value[:1] == b"{" else None
            except msgspec.DecodeError:
                return None
        at = text.rfind(_KEY, 0, at)
    return None


def ends_with_usage(data: bytes) -> bool:
    """Is this piece of a stream the last one, that carries usage and no choice?"""
    try:
        piece = _piece.decode(data)
    except msgspec.DecodeError:
        return False
    return piece.usage is not None and piece.choices is not None and not piece.choices


def without_usage(data: bytes) -> bytes:
    """The piece as the backend writes it when nobody asks for usage."""
    at = data.rfind(b',"usage":{')
    if at > 0:
        end = data.find(b"}", at)
        if end == len(data) - 2 and data[-1:] == b"}" and data.find(b"{", at + 10) < 0:
            return data[:at] + b"}"
    try:
        span = strictjson.read(data).span("usage")
    except strictjson.BadJson:
        return data
    if span is None:
        return data
    start, _, end = span
    before, after = data[:start].rstrip(_SPACE), data[end:].lstrip(_SPACE)
    if before[-1:] == b",":
        return before[:-1] + data[end:]
    return data[:start] + after.removeprefix(b",").lstrip(_SPACE)


def _end_of_object(text: bytes) -> int:
    """Behind the object that `text` starts with: counts, because usage holds no strings with brackets."""
    end = text.find(b"}") + 1
    if text.find(b"{", 1, end) < 0:
        return end or len(text)
    depth = 0
    for offset, byte in enumerate(text):
        depth += (byte == 0x7B) - (byte == 0x7D)
        if depth == 0:
            return offset + 1
    return len(text)
