r"""Records -> lines that hang on each other, and back. Sans-I/O.

    {"seq":7,"prev":"<hash of record 6>", ... ,"hash":"<hash of this line without its hash>"}\\n

The hash is over the bytes as they stand, so nothing has to be spelt again to check them: HMAC-SHA256 with the
key, or SHA-256 where there is none (that finds accidents, and nobody who can compute it).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.audit.seal import MARK, TAIL, Signer

NO_KEY: Final = "none"
_TAIL_BYTES: Final = len(MARK) + 64 + len(TAIL)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain stands."""

    count: int = 0
    """Records so far: the last one's `seq`."""
    hash: str = "0" * 64
    """Of the last one."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A line that was read: what it says, and whether its hash is that of its bytes."""

    seq: int
    prev: str
    hash: str
    good: bool
    facts: dict[str, Any]


def key_id(key: bytes | None) -> str:
    """Which key it is, without saying anything of it."""
    return NO_KEY if not key else hmac.digest(key, b"infctl audit key", "sha256").hex()[:12]


def encoded(facts: dict[str, Any]) -> bytes:
    """A record as JSON, before it is sealed: names that are the chain's own get a `_`."""
    named = {f"{name}_" if name in _OURS else name: value for name, value in facts.items()}
    return msgspec.json.encode(named)


def seal(record: bytes, head: Head, key: bytes | None) -> tuple[bytes, Head]:
    """The line, and where the chain stands with it. `record`: a JSON object, as by `encoded`."""
    line, found = Signer(key).sealed(record, head.count + 1, head.hash.encode())
    return line, Head(head.count + 1, found.decode())


_OURS: Final = frozenset({"seq", "prev", "hash"})


def read(line: bytes, key: bytes | None) -> Sealed | None:
    """A whole line without its newline. None: it is no record at all."""
    body, tail = line[:-_TAIL_BYTES] + b"}", line[-_TAIL_BYTES:]
    try:
        facts = msgspec.json.decode(line)
        seq, prev, found = facts["seq"], facts["prev"], facts["hash"]
    except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError):
        return None
    if type(seq) is not int or type(prev) is not str or type(found) is not str:
        return None
    want = _digest(body, key)
    good = tail == MARK + want.encode() + TAIL
    return Sealed(seq, prev, found, good, facts)


def _digest(body: bytes, key: bytes | None) -> str:
    """In one piece, as anybody can check it: the writer's seal.py does it in two."""
    if not key:
        return hashlib.sha256(body).hexdigest()
    return hmac.digest(key, body, "sha256").hex()
