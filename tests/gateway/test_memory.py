"""A gateway that was busy does not stay large."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway import memory

# In a process of its own: what was freed lies below something that is still used, as it does in a busy heap.
PROGRAM = """
from pathlib import Path
from gateway import memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

blocks = [b"x" * 20_000 for _ in range(3000)]
last = b"y" * 20_000
full = resident_mb()
del blocks
kept = resident_mb()
memory.trimmer()()
print(full, kept, resident_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_freed_memory_goes_back_to_the_kernel():
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    full, kept, after = map(float, done.stdout.split())
    assert full - kept < 10  # else there is nothing to show
    assert full - after > 40


def test_where_the_c_library_cannot_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.trimmer()() is None
