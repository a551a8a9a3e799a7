"""A Redis that is killed, paused, or comes back empty: nobody hangs, nothing counts twice, all is whole."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from gateway.policy.exchange import Exchange, Line, StoreDown
from gateway.policy.keys import created
from gateway.store.redis import Redis
from tests.gateway.store.redis_server import Server

DAY = ("tokens_per_day|tenant:t", "quota", "day", 1000)


def opened(server: Server, folder: Path, name: str, replicas: int = 1) -> Redis:
    return Redis(server.url, folder / f"{name}.journal", replica=name, replicas=replicas)


def ask(need: int, **rest) -> Line:
    return Line(*DAY, need=need, want=need, **rest)


def test_a_redis_that_is_killed_comes_back_with_all_it_had(redis_server: Server, tmp_path: Path):
    store = opened(redis_server, tmp_path, "r")
    [grant] = store.exchange(Exchange("w", 1, (ask(300),))).grants
    redis_server.kill()
    given = Exchange("w", 2, (ask(100, period=grant.period, settled=200),))
    for _ in range(2):
        with pytest.raises(StoreDown, match="Redis"):
            store.exchange(given)
    redis_server.start()
    assert store.exchange(given).grants[0].amount == 100
    assert store.exchange(given).grants[0].amount == 100
    [seen] = store.overview()
    assert (seen.settled, seen.leased) == (200, 200)
    store.close()


def test_a_redis_that_hangs_is_given_up_in_time_and_its_late_effect_counts_once(
    redis_server: Server, tmp_path: Path
):
    store = opened(redis_server, tmp_path, "r")
    store.exchange(Exchange("w", 1))
    redis_server.signal(signal.SIGSTOP)
    started = time.monotonic()
    given = Exchange("w", 2, (ask(300),))
    with pytest.raises(StoreDown):
        store.exchange(given)
    assert time.monotonic() - started < 10
    redis_server.signal(signal.SIGCONT)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            answer = store.exchange(given)
            break
        except StoreDown:
            continue
    assert answer.grants[0].amount == 300
    assert store.overview()[0].leased == 300
    store.close()


def test_a_redis_that_lost_everything_grants_nothing_until_all_replicas_have_told_it(
    redis_server: Server, tmp_path: Path
):
    one, other = (opened(redis_server, tmp_path, name, replicas=2) for name in ("a", "b"))
    with pytest.raises(StoreDown, match="1 of 2"):
        one.exchange(Exchange("w1", 1))
    other.exchange(Exchange("w2", 1))
    one.exchange(Exchange("w1", 1))
    [grant] = one.exchange(Exchange("w1", 2, (ask(400),))).grants
    other.exchange(Exchange("w2", 2, (ask(350),)))
    one.exchange(Exchange("w1", 3, (Line(*DAY, period=grant.period, settled=150, returned=50),)))
    _, key = created("t", bytes(32), 1.0)
    one.put_key(key)
    other.put_figures("tenant:t", '{"in_flight":3}')
    one.generation()
    other.generation()

    redis_server.forget()
    for _ in range(2):
        with pytest.raises(StoreDown, match="1 of 2"):
            one.exchange(Exchange("w1", 4, (ask(1),)))
    [refused] = other.exchange(Exchange("w2", 3, (ask(501),))).grants
    assert (refused.amount, refused.left) == (0, 300)
    one.exchange(Exchange("w1", 4, (Line(*DAY, period=grant.period, settled=200),)))
    [seen] = one.overview()
    assert (seen.settled, seen.leased) == (350, 350)
    assert one.settings().keys == (key,)
    assert one.settings().figures == {"tenant:t": '{"in_flight":3}'}
    one.close()
    other.close()


def test_what_a_dead_worker_held_is_told_again_as_well(redis_server: Server, tmp_path: Path):
    store = opened(redis_server, tmp_path, "r")
    store.exchange(Exchange("dead", 1, (ask(700),)))
    store.close()
    redis_server.forget()
    store = opened(redis_server, tmp_path, "r")
    [grant] = store.exchange(Exchange("new", 1, (ask(301),))).grants
    assert (grant.amount, grant.left) == (0, 300)
    store.close()


def test_all_keys_lie_in_one_slot_of_a_cluster(redis_server: Server, tmp_path: Path):
    import redis

    store = opened(redis_server, tmp_path, "r")
    store.exchange(Exchange("w", 1, (ask(1),)))
    store.put_figures("tenant:t", "{}")
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        assert {key.partition("}")[0] for key in client.scan_iter()} == {"{infctl"}
    store.close()


def test_what_an_emptied_redis_granted_before_is_not_spent_after_others_have_told_it_all(
    redis_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two processes of one box: one is slow between Redis's answer and its journal."""
    one, other = (opened(redis_server, tmp_path, "box") for _ in range(2))
    other.exchange(Exchange("w2", 1))
    write = one._journal.write

    def late(*what) -> None:
        redis_server.forget()
        other.exchange(Exchange("w2", 2))
        write(*what)

    monkeypatch.setattr(one._journal, "write", late)
    given = Exchange("w1", 1, (ask(600),))
    with pytest.raises(StoreDown, match="after it answered"):
        one.exchange(given)
    monkeypatch.setattr(one._journal, "write", write)
    assert other.overview() == []
    assert one.exchange(given).grants[0].amount == 600
    one.close()
    other.close()
