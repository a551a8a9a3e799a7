"""Memory that a load needed and nobody needs any more goes back to the kernel.

glibc keeps what was freed in the middle of its heap (mallopt(3), M_TRIM_THRESHOLD): a gateway that was once
busy would stay at that size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

TRIM_S: Final = 10.0
"""Between two looks: one takes less than a millisecond for a heap of 20 MB."""


def trimmer() -> Callable[[], Any]:
    """Gives free memory back. Does nothing where the C library cannot (musl, macOS, Windows)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda: None
    return lambda: trim(0)
