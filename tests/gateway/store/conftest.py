"""The stores that the suite is run against, each with a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.protocol import Store
from gateway.store.sqlite import SQLite

NOON = 1_795_780_800
"""2026-11-27 12:00 UTC."""


class Clock:
    def __init__(self) -> None:
        self.now_s = float(NOON)

    def passes(self, seconds: float) -> None:
        self.now_s += seconds

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    found = SQLite(tmp_path / "counts.db", clock)
    yield found
    found.close()
