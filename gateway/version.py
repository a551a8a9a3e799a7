"""The version of the installed package."""

from __future__ import annotations

from functools import cache


@cache
def version() -> str:
    """As installed; `0+unknown` when run from files that no installer knows."""
    from importlib import metadata  # noqa: PLC0415 - 10 ms, rarely needed

    try:
        return metadata.version("infctl")
    except metadata.PackageNotFoundError:
        return "0+unknown"
