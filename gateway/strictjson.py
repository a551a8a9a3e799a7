r"""JSON that two readers cannot understand differently, or 400. Sans-I/O, O(n), no recursion of ours.

orjson refuses what RFC 8259 refuses (NaN, 1e999, lone surrogates, a byte order mark, bad UTF-8, more
bytes behind). Here is what it lets through: keys written twice, and nesting that a later reader may not
survive.

The usual body passes at once: written anew by orjson it comes out the same, byte for byte, so that no key
can have stood in it twice.

The trick for all others: with `\\` and `\"` blanked out, `body.split(b'"')` gives structure and strings in
turns, at the speed of C. Offsets stay those of the body.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

DEPTH: Final = 64
"""Arrays and objects inside one another."""

_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_WORD: Final = re.compile(rb"-?\b(?:NaN|Infinity)\b")
_APART: Final = re.compile(rb'"[ \t\r\n]+:')
_SPACE: Final = b" \t\r\n"


class BadJson(ValueError):  # noqa: N818 - what the body is
    """What is wrong with it, as a sentence for the client."""


class Document:
    """A JSON object as it was written: `value` what it says, `span` where, `put` changes it."""

    __slots__ = ("_keys", "_parts", "body", "compact", "value")

    def __init__(self, body: bytes, value: dict[str, Any], *, compact: bool) -> None:
        self.body = body
        self.value = value
        self.compact = compact
        """Byte for byte what orjson writes for `value`."""
        self._parts: list[bytes] = []
        """Structure at the even places, strings at the odd ones. Made when first needed."""
        self._keys: list[int] = []
        """The places in `_parts` that are keys, of all objects."""

    def put(self, values: dict[str, Any], field: bytes = b"") -> bytes:
        """The body with these values of the outermost object; all else stays as it was written.

        `field`: one more, ready, that is not in the object.
        """
        old = {key: value for key, value in values.items() if key in self.value} if values else values
        body = self._rewritten(old) if old else self.body
        if len(old) < len(values):
            new = orjson.dumps({key: value for key, value in values.items() if key not in old})[1:-1]
            field = b"%b,%b" % (new, field) if field else new
        if not field:
            return body
        first = body.index(b"{") + 1
        return b"%b%b%b%b" % (body[:first], field, b"," if self.value else b"", body[first:])

    def _rewritten(self, values: dict[str, Any]) -> bytes:
        if self.compact:
            return orjson.dumps(self.value | values)
        body = self.body
        spans = sorted(((self.span(key), value) for key, value in values.items()), reverse=True, key=_place)
        for span, value in spans:
            assert span is not None  # noqa: S101 - it is one of the keys
            body = body[: span[1]] + orjson.dumps(value) + body[span[2] :]
        return body

    def span(self, key: str) -> tuple[int, int, int] | None:
        """Where a key of the outermost object begins, its value begins, its value ends. None: no such key."""
        if key not in self.value:
            return None
        if not self._parts:
            self._parts = split(self.body)
            behind = enumerate(self._parts[2::2])
            self._keys = [2 * n + 1 for n, text in behind if text.lstrip(_SPACE)[:1] == b":"]
        wanted = key.encode()
        parts = self._parts
        for n in self._keys:
            if not _same_key(parts[n], wanted):
                continue
            before = b"".join(parts[:n:2])
            if before.count(b"{") + before.count(b"[") - before.count(b"}") - before.count(b"]") == 1:
                start = sum(map(len, parts[:n])) + n - 1
                return (start, *self._value(n, start + len(parts[n]) + 2))
        return None

    def _value(self, n: int, at: int) -> tuple[int, int]:
        """The value behind the key at place `n`; `at`: the offset behind that key."""
        structure = self._parts[n + 1]
        text = structure.lstrip(_SPACE + b":")
        start = at = at + len(structure) - len(text)
        if not text:
            return start, start + len(self._parts[n + 2]) + 2  # a string
        depth = 0
        while True:
            for offset, byte in enumerate(text, at):
                depth += (byte in b"[{") - (byte in b"]}")
                if depth < 0 or (depth == 0 and byte in b","):
                    return start, start + len(self.body[start:offset].rstrip(_SPACE))
                if depth == 0 and byte in b"]}":
                    return start, offset + 1
            n += 2
            at += len(text) + len(self._parts[n]) + 2
            text = self._parts[n + 1]


def read(body: bytes) -> Document:
    """A JSON object. Raises BadJson."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadJson(_explain(body, error)) from None
    if not isinstance(value, dict):
        raise BadJson(f"The body is {_kind(value)}; a JSON object is expected.")
    # Counts the opening brackets, as far as it matters; `count` goes byte by byte, `split` leaps.
    if len(body.split(b"{", DEPTH)) + len(body.split(b"[", DEPTH)) > DEPTH + 2:
        _check_depth(body)
    compact = orjson.dumps(value) == body
    if not compact:
        _check_keys(body, value)
    return Document(body, value, compact=compact)


def _place(edit: tuple[tuple[int, int, int] | None, Any]) -> int:
    return edit[0][0] if edit[0] is not None else 0


def split(body: bytes) -> list[bytes]:
    """Structure and strings in turns."""
    return _without_escapes(body).split(b'"')


def _without_escapes(body: bytes) -> bytes:
    """The two escapes that would mislead a search for quotes are blanked out."""
    return body.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in body else body


def _check_depth(body: bytes) -> None:
    """Takes the innermost pairs away, DEPTH times."""
    structure = b"".join(split(body)[::2])
    brackets = structure.translate(_BRACKETS, _NO_BRACKET)
    for _ in range(DEPTH):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise BadJson(f"The body is nested deeper than {DEPTH} levels.")


def _check_keys(body: bytes, value: dict[str, Any]) -> None:
    """As many keys written as read: none was written twice. Where that cannot be told, look at each object.

    `":` counts every key that its colon follows at once, and now and then a string that begins with a colon:
    never too few.
    """
    text = _without_escapes(body)
    if text.count(b'":') != _keys_in(value) or _APART.search(text) is not None:
        json.loads(body, object_pairs_hook=_unique)


def _keys_in(value: dict[str, Any]) -> int:
    total = 0
    inside: list[Any] = [value]
    for each in inside:  # grows while it is walked
        if type(each) is dict:
            total += len(each)
            each = each.values()  # noqa: PLW2901
        inside += [deeper for deeper in each if type(deeper) is dict or type(deeper) is list]
    return total


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise BadJson(f"The key {key[:64]!r} is written twice in one object: which one is meant?")
        seen.add(key)


def _same_key(written: bytes, wanted: bytes) -> bool:
    if b"\\" not in written:
        return written == wanted
    return bool(orjson.loads(b'"%b"' % written) == wanted.decode())


def _kind(value: object) -> str:
    if value is None:
        return "`null`"
    return {list: "an array", str: "a string", bool: "true or false"}.get(type(value), "a number")


def _explain(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body.strip(_SPACE):
        return "The body is empty; a JSON object is expected."
    if body.startswith(b"\xef\xbb\xbf"):
        return "The body starts with a byte order mark. Send UTF-8 without it."
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
        return "The body is UTF-16 or UTF-32. Send UTF-8."
    try:
        body.decode()
    except UnicodeDecodeError as bad:
        return f"The body is not UTF-8: byte {bad.start} is {body[bad.start]:#04x}."
    if "depth limit" in error.msg:
        return f"The body is nested deeper than {DEPTH} levels."
    if "surrogate" in error.msg and _SURROGATE.search(body):
        return "A string holds half of a surrogate pair (\\ud800 to \\udfff): that is no character."
    if "infinity" in error.msg:
        return "A number is too large."
    word = _WORD.search(b" ".join(split(body)[::2]))
    if word is not None:
        return f"{word[0].decode()} is not JSON: a number is expected."
    if "after document" in error.msg:
        return f"Something follows the JSON object, at character {error.pos}."
    return f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
