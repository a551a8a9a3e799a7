"""Two gateways on one Redis: what is set at one of them holds at the other a moment later."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.control.conftest import Counting, asked, call, limits_of
from tests.gateway.process import Gateway, until
from tests.gateway.store.redis_server import Server

FOLLOWS_S = 1.0
SLACK_S = 4.0
"""For a machine that is busy with other things."""


@pytest.fixture
def redis() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def both(redis: Server, counting: Counting, tmp_path: Path) -> tuple[Gateway, Gateway]:
    def one(box: str) -> Gateway:
        store = {"kind": "redis", "path": str(tmp_path / f"{box}.db"), "journals": 2, "box": box}
        return counting(store=store, env={"REDIS_URL": redis.url})

    first, second = one("a"), one("b")
    until(lambda: call(first).status_code == call(second).status_code == 200, 20)
    return first, second


def follows(found: Any) -> float:
    began = time.monotonic()
    until(found, FOLLOWS_S + SLACK_S)
    return time.monotonic() - began


def test_a_change_at_one_gateway_holds_at_the_other_within_a_second(both: tuple[Gateway, Gateway]) -> None:
    here, there = both
    made = asked(here, "POST", "/admin/keys", {"tenant": "acme"}).json()
    assert made["applied_by"] == {
        "workers": 1,
        "late": [],
        "others": "other gateways on the same store follow within 1 s",
    }
    took = [follows(lambda: call(there, made["text"]).status_code == 200)]
    asked(here, "DELETE", f"/admin/keys/{made['key']['id']}")
    took.append(follows(lambda: call(there, made["text"]).status_code == 401))
    asked(here, "PUT", "/admin/quota/acme/limits", {"requests_per_day": 1})
    took.append(follows(lambda: call(there).status_code == 429))
    assert min(took) < FOLLOWS_S, took
    until(lambda: limits_of(here, "acme")["requests_per_day"]["settled"] > 0)
    for gateway in both:
        row = limits_of(gateway, "acme")["requests_per_day"]
        assert (row["limit"], row["left"], row["level"]) == (1, 0, "run_time")

    def used(gateway: Gateway) -> int:
        return int(limits_of(gateway, "acme")["tokens_per_day"]["settled"])

    until(lambda: used(here) == used(there) > 0)
