"""What each of several workers may use."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.workers import shares
from tests.examples import examples


def made(*concurrency: int | None, **rest: Any) -> config.Config:
    backends = [
        {"id": f"b{n}", "url": f"http://h:{n + 1}", "concurrency": each} for n, each in enumerate(concurrency)
    ]
    model = {"name": "m", "served_name": "m", "tasks": ["chat"], "backends": backends}
    return config.parse({"models": [model]} | rest)


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(1, 500), st.integers(1, 64))
def test_shares_add_up_to_the_whole_and_nobody_has_none(whole: int, workers: int) -> None:
    parts = [shares.share(whole, worker, workers) for worker in range(workers)]
    assert min(parts) >= 1
    assert sum(parts) == max(whole, workers)
    assert max(parts) - min(parts) <= 1


def test_places_connections_waiting_calls_and_the_cache_are_divided() -> None:
    whole = made(8, 5, None, queue={"waiting": 9}, upstream={"connections": 10, "keep_alive": 4})
    parts = [shares.divided(whole, worker, 2) for worker in range(2)]
    places = [[backend.concurrency for backend in part.models[0].backends] for part in parts]
    assert places == [[4, 2, None], [4, 3, None]]
    assert [part.queue.waiting for part in parts] == [5, 4]
    assert [(part.upstream.connections, part.upstream.keep_alive) for part in parts] == [(5, 2), (5, 2)]
    assert sum(part.cache.memory_bytes for part in parts) == whole.cache.memory_bytes
    assert sum(part.http.connections for part in parts) == whole.http.connections
    assert {part.retries for part in parts} == {whole.retries}


def test_one_worker_has_all_of_it() -> None:
    whole = made(8)
    assert shares.divided(whole, 0, 1) is whole


def test_fewer_places_than_workers_are_told() -> None:
    assert shares.warnings(made(4, None, 1), 4) == [
        "b2 computes 1 at once, fewer than there are workers: each of the 4 may send it one"
    ]
