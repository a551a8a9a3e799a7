"""The stores that the suite is run against, each with a clock that the tests turn."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.protocol import Store
from gateway.store.redis import Redis
from gateway.store.sqlite import SQLite
from tests.gateway.store.redis_server import Server

NOON = 1_795_780_800
"""2026-11-27 12:00 UTC."""

_tags = itertools.count()


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


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[Server]:
    """One for all tests that do not hurt it; each has a hash tag of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def redis_server() -> Iterator[Server]:
    """One to be hurt."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    if request.param == "sqlite":
        found: Store = SQLite(tmp_path / "counts.db", clock)
    else:
        server = request.getfixturevalue("shared_redis")
        tag = f"{{test{next(_tags)}}}:"
        found = Redis(server.url, tmp_path / "journal.db", replica="r", replicas=1, clock=clock, prefix=tag)
    yield found
    found.close()
