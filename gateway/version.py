"""The version of the installed package; in the image, which has no package, what it was built with."""

from __future__ import annotations

import os
from functools import cache


@cache
def version() -> str:
    """As installed; `0+unknown` when run from files that no installer knows."""
    from importlib import metadata  # noqa: PLC0415 - 10 ms, rarely needed

    try:
        return metadata.version("infctl")
    except metadata.PackageNotFoundError:
        return os.environ.get("GATEWAY_VERSION") or "0+unknown"
