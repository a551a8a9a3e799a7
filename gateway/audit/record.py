"""What of a request goes into the trail, and how: whose it was plain or hashed, the rest redacted.

It runs in the trail's own thread: a request pays for its record's append alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import orjson

from gateway.audit.who import hashed

if TYPE_CHECKING:
    from gateway.redact import Redactor

WHO: Final = ("tenant", "peer")

Prepare = Callable[[Sequence[bytes]], Sequence[bytes]]


def preparing(redactor: Redactor | None, hash_key: bytes | None) -> Prepare:
    """`hash_key`: who asked is written as its HMAC; None: as it is. Neither is redacted."""
    lines = None
    if redactor is not None:
        from gateway.redact.lines import Lines  # noqa: PLC0415 - 5 MB that only who redacts needs

        lines = Lines(redactor)

    def prepare(records: Sequence[bytes]) -> Sequence[bytes]:
        if lines is not None:  # all at once: one search where there is nothing to hide
            records = lines.block(b"".join([b"%b\n" % one for one in records])).splitlines()
        if hash_key is not None:
            records = [_hashed(one, hash_key) for one in records]
        return records

    return prepare


def _hashed(record: bytes, key: bytes) -> bytes:
    facts = orjson.loads(record)
    return orjson.dumps(
        facts | {name: hashed(facts[name], key) for name in WHO if facts.get(name) is not None}
    )
