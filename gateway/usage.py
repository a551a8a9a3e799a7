"""The tokens a backend says it used: found in the bytes of a reply, and taken out again. Sans-I/O.

The last `"usage"` that is a key is meant: inside a JSON string a quote is escaped, so the text a model writes
cannot look like one.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gateway import strictjson
from gateway.counts import COUNTS, OF_RESPONSES, PIECE, USAGE, Usage

__all__ = ["Usage", "ends_with_usage", "usage_in", "without_usage"]

_KEY: Final = b'"usage"'
_SPACE: Final = b" \t\r\n"
_COLON: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")


def _object(levels: int) -> re.Pattern[bytes]:
    """An object with so many levels of objects inside, of which none holds a bracket in a string."""
    inside = rb"[^{}]*"
    for _ in range(levels):
        inside = rb"[^{}]*(?:\{%b\}[^{}]*)*" % inside
    return re.compile(rb"\{%b\}" % inside)


_OBJECT: Final = _object(3)


def usage_in(text: bytes) -> Usage | None:
    """The usage in the tail of a reply's JSON, or in one piece of a stream."""
    at = text.rfind(_KEY)
    if text[at + 7 : at + 9] == b":{":
        end = text.find(b"}", at) + 1
        if end and text.find(b"{", at + 9, end) < 0:  # as vLLM writes it, with no details inside
            return _read(text[at + 8 : end])
    while at >= 0:
        colon = _COLON.match(text, at + len(_KEY))
        if colon is not None:
            found = _OBJECT.match(text, colon.end())
            return _read(found[0]) if found is not None else None
        at = text.rfind(_KEY, 0, at)
    return None


def _read(text: bytes) -> Usage | None:
    try:
        if text.find(b'"input_tokens"') < 0:  # `in` would make an error first, and drop it
            return USAGE.decode(text)
        read = OF_RESPONSES.decode(text)
    except msgspec.DecodeError:
        return _without_details(text)
    return Usage(read.input_tokens, read.output_tokens, read.total_tokens, read.input_tokens_details)


def _without_details(text: bytes) -> Usage | None:
    """Odd details are no reason to count nothing."""
    if text.find(b"_details") < 0 or text.find(b'"input_tokens"') >= 0:
        return None
    try:
        read = COUNTS.decode(text)
    except msgspec.DecodeError:
        return None
    return Usage(read.prompt_tokens, read.completion_tokens, read.total_tokens)


def ends_with_usage(data: bytes) -> bool:
    """Is this piece of a stream the last one, that carries usage and no choice?"""
    try:
        piece = PIECE.decode(data)
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
