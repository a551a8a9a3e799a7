"""What it says when an address cannot be listened on."""

from __future__ import annotations

import errno
from typing import Final

BACKLOG: Final = 4096


def cannot_listen(host: str, port: int, error: OSError) -> OSError:
    """The error to raise: what could not be listened on, and why."""
    return OSError(error.errno, f"cannot listen on {host}:{port}: {_why(error)}")


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use by another program"
    if error.errno == errno.EACCES:
        return "ports below 1024 need more rights"
    return error.strerror or str(error)
