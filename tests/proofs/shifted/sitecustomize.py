"""A wall clock that a proof can set: `time.time` of each process that starts with this folder in PYTHONPATH.

The file that SHIFT_FILE names holds eight bytes: by how many seconds the clock is ahead. The steady clock is
the machine's own.
"""

import mmap
import os
import struct
import time
from pathlib import Path

_file = os.environ.get("SHIFT_FILE")
if _file:
    with Path(_file).open("rb") as _opened:
        _shift = mmap.mmap(_opened.fileno(), 8, access=mmap.ACCESS_READ)
    _real = time.time

    def _shifted() -> float:
        ahead: float = struct.unpack("d", _shift[:8])[0]
        return _real() + ahead

    time.time = _shifted
