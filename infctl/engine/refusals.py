"""What the process engine cannot work with, in words: another system, a folder that takes no files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infctl.errors import EngineError


def needs_linux() -> None:
    if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
        raise EngineError(
            "local processes need Linux 5.3 or newer",
            hint="use `runtime: docker`, or a Linux machine; validate and render work here too",
        )


def unwritable(path: Path, error: OSError) -> EngineError:
    said = error.strerror or str(error)
    return EngineError(
        f"{path} cannot be written: {said}", hint="check the owner and the free space of that folder"
    )


def unreadable(path: Path, error: OSError) -> EngineError:
    said = error.strerror or str(error)
    return EngineError(f"{path} cannot be read: {said}", hint="infctl keeps its records there")
