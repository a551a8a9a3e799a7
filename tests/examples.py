"""How many examples a property test tries: its own number in every run, a multiple of it in a proof."""

from __future__ import annotations

import os


def examples(count: int) -> int:
    """`count` times INFCTL_PROOF, which `make proof-properties` sets."""
    return count * int(os.environ.get("INFCTL_PROOF", "1"))
