"""All keys there are, looked up by the hash of what was sent. Pure; time is an argument."""

from __future__ import annotations

import math
from collections.abc import Iterable
from hmac import compare_digest
from typing import Final

from gateway.policy.keys import Key

DECOYS: Final = 256
_NOBODY: Final = bytes(32), -math.inf, None


class Ring:
    """All keys, looked up by hash. Never changed: a change makes a new one."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_digest = {
            digest: (digest, _end_s(key), key) for key in keys for digest in [bytes.fromhex(key.digest)]
        }
        # Who is unknown is compared with somebody who is not let in, somewhere in memory: as who is known.
        others = [(bytes(bytearray(digest)), -math.inf, None) for digest in self._by_digest] or [_NOBODY]
        self._decoys = [others[n % len(others)] for n in range(DECOYS)]

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, digest: bytes, clock_s: float) -> Key | None:
        """Of a key's text (`digest_of`). The same steps for one that is unknown, expired or revoked."""
        known, end_s, key = self._by_digest.get(digest, self._decoys[digest[0]])
        same = compare_digest(known, digest)
        holds = clock_s < end_s
        return key if same & holds else None


def _end_s(key: Key) -> float:
    """One that is revoked ended before all time: to find that out is no step more or less."""
    if key.revoked_s is not None:
        return -math.inf
    return math.inf if key.expires_s is None else key.expires_s
