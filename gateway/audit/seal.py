"""The seal of a record, made for very many of them: on the way of each request's line into the trail."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

MARK: Final = b',"hash":"'
TAIL: Final = b'"}'
_BLOCK_BYTES: Final = 64
"""Of SHA-256."""


class Signer:
    """HMAC-SHA256 with the key, of which the blocks that are always the same are hashed once (RFC 2104); or
    SHA-256 where there is no key.
    """

    def __init__(self, key: bytes | None) -> None:
        self._keyed = bool(key)
        block = key or b""
        if len(block) > _BLOCK_BYTES:
            block = sha256(block).digest()
        block = block.ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block) if key else b"")
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def of(self, text: bytes) -> bytes:
        """In hex."""
        inner = self._inner.copy()
        inner.update(text)
        if not self._keyed:
            return inner.hexdigest().encode()
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest().encode()

    def sealed(self, record: bytes, count: int, prev: bytes) -> tuple[bytes, bytes]:
        """The line with its newline, and its hash. `record`: a JSON object; the `count`th; `prev`: the hash
        of the one before.
        """
        rest = record[1:] if record == b"{}" else b"," + record[1:]
        body = b'{"seq":%d,"prev":"%b"%b' % (count, prev, rest)
        found = self.of(body)
        return b"%b%b%b%b\n" % (body[:-1], MARK, found, TAIL), found
