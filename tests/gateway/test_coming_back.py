"""When a client is told to come back, it is true; and its own time holds wherever its call waits."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.gateway.process import config_for, until


def embed(gateway, timeout_s=None):
    headers = {} if timeout_s is None else {"x-request-timeout": str(timeout_s)}
    began = time.monotonic()
    answer = gateway.http.post("/v1/embeddings", json={"model": "embed", "input": "x"}, headers=headers)
    return answer, time.monotonic() - began


def told(answer):
    error = answer.json()["error"]
    return answer.status_code, error["type"], error["code"]


def test_a_client_that_comes_back_when_it_was_told_is_served(start, make_stub):
    """Loading, then down, then back: each time the next look at the backend is what was promised."""
    stub = make_stub()
    stub.health = 503
    gateway = start(config_for(stub, cache={"enabled": False}))
    until(lambda: gateway.lines and gateway.detailed()["backends"][1]["last_probe_s_ago"] is not None)
    loading, _ = embed(gateway)
    assert told(loading) == (503, "overloaded", "model_loading")
    stub.health = 200
    time.sleep(int(loading.headers["retry-after"]))
    assert embed(gateway)[0].status_code == 200
    stub.health = 500
    until(lambda: gateway.backend("embed")["state"] == "down")
    down, _ = embed(gateway)
    assert told(down) == (503, "overloaded", "no_healthy_backend")
    stub.health = 200
    time.sleep(int(down.headers["retry-after"]))
    assert embed(gateway)[0].status_code == 200
    gateway.admin("POST", "/admin/backends/embed/drain")
    drained, _ = embed(gateway)
    assert told(drained) == (503, "overloaded", "no_healthy_backend")
    assert "retry-after" not in drained.headers  # nobody knows


def test_a_clients_own_time_ends_its_wait_for_a_place_and_for_anothers_answer(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    config = config_for(stub, queue={"timeout_s": 20.0})
    config["models"][1]["backends"][0]["concurrency"] = 1
    gateway = start(config).wait_ready(2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(embed, gateway, 3)
        until(lambda: stub.active == 1)
        joined, took_s = embed(gateway, 0.4)  # the same call: it waits for the first one's answer
        assert told(joined)[::2] == (504, "upstream_timeout")
        assert 0.39 <= took_s < 1.5
        other = {"model": "embed", "input": "y"}
        began = time.monotonic()
        waited = gateway.http.post("/v1/embeddings", json=other, headers={"x-request-timeout": "0.4"})
        assert told(waited) == (503, "overloaded", "queue_timeout")
        assert 0.39 <= time.monotonic() - began < 1.5
        assert int(waited.headers["retry-after"]) >= 1
        assert first.result()[0].status_code == 504
    until(lambda: gateway.backend("embed")["in_flight"] == 0)
    assert len(stub.seen) == 1  # nobody else was sent
    assert gateway.backend("embed")["breaker"]["failures"] == 0
