"""Real processes on a real store: never over, and nothing lost but what a killed worker held."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.store.redis_server import Server
from tests.gateway.store.siege import siege

ENOUGH = {"tokens_per_day": 10**12, "requests_per_day": 10**9, "in_flight": 24}
SCARCE = {"tokens_per_day": 150_000, "requests_per_day": 3_000, "in_flight": 6, "tokens_per_month": 10**9}


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'counts.db'}"
    server: Server = request.getfixturevalue("redis_server")
    return f"{server.url}#{tmp_path / 'journal'}"


def test_four_workers_settle_to_the_token(url: str, tmp_path: Path):
    outcome = siege(url, tmp_path, seconds=2.5, kills=0, amounts=ENOUGH)
    assert outcome.over == []
    assert outcome.unclean == 0
    assert outcome.admitted > 0
    assert (outcome.settled, outcome.leased, outcome.used_at_most) == (outcome.used, 0, 0)


def test_four_workers_that_are_killed_are_never_over(url: str, tmp_path: Path):
    outcome = siege(url, tmp_path, seconds=4, kills=6, amounts=SCARCE)
    assert outcome.over == []
    assert outcome.kills > 0
    assert outcome.looks > 20
    assert outcome.used + outcome.used_at_most >= outcome.settled
    assert outcome.used <= outcome.settled + outcome.leased


def test_a_redis_that_is_killed_and_one_that_forgets_are_never_over(redis_server: Server, tmp_path: Path):
    def crash() -> None:
        redis_server.kill()
        redis_server.start()

    outcome = siege(
        f"{redis_server.url}#{tmp_path / 'journal'}",
        tmp_path,
        seconds=6,
        kills=3,
        amounts={"tokens_per_day": 400_000, "requests_per_day": 10**9},
        hurts=(crash, redis_server.forget),
    )
    assert outcome.over == []
    assert (outcome.hurts, outcome.kills) == (2, 3)
    assert outcome.used <= outcome.settled + outcome.leased <= 400_000
