"""What of a request goes into the trail, and how: whose it was plain or hashed, the rest redacted.

It runs in the trail's own thread: a request pays for its record's append alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gateway.audit.who import hashed

if TYPE_CHECKING:
    from gateway.redact import Redactor

WHO: Final = ("tenant", "peer")

Facts = dict[str, Any]


def preparing(redactor: Redactor | None, hash_key: bytes | None) -> Callable[[Facts], Facts]:
    """`hash_key`: who asked is written as its HMAC; None: as it is. Neither is redacted."""
    lines = None
    if redactor is not None:
        from gateway.redact.lines import Lines  # noqa: PLC0415 - 5 MB that only who redacts needs

        lines = Lines(redactor)

    def prepare(facts: Facts) -> Facts:
        made = facts if lines is None else lines.facts(facts)
        if hash_key is not None:
            made = made | {name: hashed(made[name], hash_key) for name in WHO if made.get(name) is not None}
        return made

    return prepare
