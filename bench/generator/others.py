"""Installs the load tools that are measured beside `infctl bench`, each into an environment of its own.

python bench/generator/others.py      guidellm, aiperf; what cannot be installed is said and left out
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "gateway"))
from peers import Package, ready, state

__all__ = ["AIPERF", "GUIDELLM", "Package", "state"]

_TARGET = "bench-generator-peers"
GUIDELLM = Package("guidellm", "0.8.1", "guidellm", beside="torch==2.13.0+cpu", target=_TARGET)
AIPERF = Package("aiperf", "0.13.0", "aiperf", target=_TARGET)

if __name__ == "__main__":
    sys.exit(ready([GUIDELLM, AIPERF]))
