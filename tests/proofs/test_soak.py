"""The time-boxed form of `make proof-soak`; SOAK_SECONDS=120 makes it two minutes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.proofs import soak

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))


def test_after_mixed_traffic_the_gateway_holds_what_it_held_before(tmp_path: Path) -> None:
    figures = asyncio.run(soak.run(tmp_path, SECONDS, clients=32, seed=2))
    print(figures)  # noqa: T201 - the figure, with -s or in a failure
    assert figures.short() == []
    assert figures.soak.wrongs == 0
