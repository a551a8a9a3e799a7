"""Which gateway this is, and whether it is compiled.

The version is that of the installed package; in the image, which has none, what it was built with.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


@cache
def version() -> str:
    """As installed; `0+unknown` when run from files that no installer knows."""
    from importlib import metadata  # noqa: PLC0415 - 10 ms, rarely needed

    try:
        return metadata.version("infctl")
    except metadata.PackageNotFoundError:
        return os.environ.get("GATEWAY_VERSION") or "0+unknown"


def compiled() -> bool:
    """Do requests go through machine code (image/compile.py)?"""
    found = find_spec("gateway.serve")
    return found is not None and str(found.origin).endswith(tuple(EXTENSION_SUFFIXES))
