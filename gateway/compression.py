"""gzip for clients that ask for it: whole answers only, and only where it saves a packet."""

from __future__ import annotations

import asyncio
import re
import zlib
from functools import lru_cache
from typing import Final

LEAST_BYTES: Final = 1400
"""Smaller answers fit into one packet as they are."""
INLINE_BYTES: Final = 64 * 1024
"""Larger ones are packed in a thread: 10 MB/s to 100 MB/s are too slow for the loop."""
LEVEL: Final = 1
_GZIP_WINDOW: Final = 31
_CODING: Final = re.compile(r"\s*(gzip|x-gzip|\*)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?", re.IGNORECASE)

VARY: Final = b"vary: accept-encoding\r\n"
GZIP: Final = b"content-encoding: gzip\r\n"


async def packed(body: bytes, accepted: bytes | None) -> tuple[bytes, bytes]:
    """The body as the client gets it, and the header lines that say so. `accepted`: its Accept-Encoding."""
    if len(body) < LEAST_BYTES:
        return body, b""
    if accepted is None or not takes_gzip(accepted):
        return body, VARY
    if len(body) <= INLINE_BYTES:
        return _pack(body), GZIP + VARY
    return await asyncio.to_thread(_pack, body), GZIP + VARY


@lru_cache(maxsize=256)
def takes_gzip(accepted: bytes) -> bool:
    weights: dict[str, float] = {}
    for part in accepted.decode("latin-1").split(","):
        match = _CODING.fullmatch(part)
        if match is not None:
            weights[match[1].lower().removeprefix("x-")] = float(match[2] or 1)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _pack(body: bytes) -> bytes:
    return zlib.compress(body, LEVEL, _GZIP_WINDOW)
