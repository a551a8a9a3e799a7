"""A second backend for a call that the first one is silent about: who wins, who is cut, what it counts as."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.process import KEY, config_for, until

HEDGING = {"enabled": True, "after_s": 0.1}


def hedged(*stubs, **extra):
    """The first stub is asked first: it alone has a weight worth speaking of."""
    config = config_for(*stubs, **{"hedging": HEDGING, "balancing": {"policy": "weighted"}} | extra)
    config["models"][0]["backends"][0]["weight"] = 1000.0
    return config


@pytest.fixture
def two(make_stub):
    return make_stub("slow"), make_stub("fast")


def idle(gateway):
    until(lambda: all(gateway.backend(each)["in_flight"] == 0 for each in ("chat0", "chat1")))


def count(gateway, outcome):
    name = f'infctl_hedges_total{{model="chat",outcome="{outcome}"}}'
    found = [line for line in gateway.http.get("/metrics").text.splitlines() if line.startswith(name)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


@contextlib.contextmanager
def client_of(gateway):
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        yield client


def test_the_second_one_answers_for_a_first_that_is_silent_and_the_first_is_cut(start, two):
    slow, _ = two
    gateway = start(hedged(*two, breaker={"failures": 1})).wait_ready(3)
    slow.mode = "hang"
    began = time.monotonic()
    answer = gateway.chat()
    took_s = time.monotonic() - began
    until(lambda: slow.closed_at, 1)
    assert answer.json()["backend"] == "fast"
    assert 0.1 <= took_s < 2
    assert slow.closed_at[0] - (began + took_s) < 1
    line = gateway.request_line(answer.headers["x-request-id"])
    assert (line["backend"], line["attempts"], line["outcome"]) == ("chat1", 2, "ok")
    wasted_ms = line["hedge"].pop("wasted_ms")
    assert 99.9 <= wasted_ms <= line["total_ms"] + 1
    assert line["hedge"] == {"outcome": "won", "wasted_at": "chat0", "wasted_prompt_tokens": 5}
    assert count(gateway, "won") == 1
    idle(gateway)
    assert gateway.backend("chat0")["breaker"] == gateway.backend("chat1")["breaker"]  # it says nothing of it
    assert gateway.backend("chat0")["errors"] == 0


def test_a_first_one_that_is_in_time_or_first_all_the_same_is_the_answer(start, two):
    slow, fast = two
    gateway = start(hedged(*two)).wait_ready(3)
    assert gateway.chat().json()["backend"] == "slow"
    assert not fast.seen
    slow.delay_s, fast.mode = 0.4, "hang"
    answer = gateway.chat()
    assert answer.json()["backend"] == "slow"
    line = gateway.request_line(answer.headers["x-request-id"])
    assert (line["backend"], line["hedge"]["outcome"], line["hedge"]["wasted_at"]) == (
        "chat0",
        "lost",
        "chat1",
    )
    until(lambda: fast.closed_at, 1)
    idle(gateway)
    assert gateway.backend("chat0")["breaker"] == gateway.backend("chat1")["breaker"]


def test_off_there_is_never_a_second_one_and_no_word_of_it(start, two):
    slow, fast = two
    gateway = start(hedged(*two, hedging={"after_s": 0.05})).wait_ready(3)
    slow.delay_s = 0.3
    answer = gateway.chat()
    assert answer.json()["backend"] == "slow"
    assert not fast.seen
    assert "hedge" not in gateway.request_line(answer.headers["x-request-id"])


def test_a_stream_and_a_stored_response_are_sent_once(start, two):
    slow, fast = two
    gateway = start(hedged(*two)).wait_ready(3)
    slow.delay_s = 0.15
    assert gateway.chat(stream=True).content.endswith(b"data: [DONE]\n\n")
    slow.mode = "hang"
    body = {"model": "chat", "input": "x"}
    headers = {"x-request-timeout": "0.5"}
    assert gateway.http.post("/v1/responses", json=body, headers=headers).status_code == 504
    assert not fast.seen


@pytest.mark.parametrize("mode", ["500", "reset before"])
def test_when_the_second_one_fails_the_first_is_waited_for_and_the_other_way_round(start, two, mode):
    slow, fast = two
    gateway = start(hedged(*two)).wait_ready(3)
    slow.delay_s, fast.mode = 0.4, mode
    answer = gateway.chat()
    assert (answer.status_code, answer.json()["backend"]) == (200, "slow")
    line = gateway.request_line(answer.headers["x-request-id"])
    assert (line["backend"], line["hedge"]["outcome"]) == ("chat0", "lost")
    assert line["hedge"]["wasted_at"] is None  # it failed by itself, and that counts
    assert (gateway.backend("chat1")["errors"], gateway.backend("chat1")["breaker"]["failures"]) == (1, 1)
    assert gateway.backend("chat0")["errors"] == 0
    idle(gateway)


def test_when_both_fail_the_call_ends_once_and_both_breakers_count_it(start, two):
    slow, fast = two
    gateway = start(hedged(*two, retries={"attempts": 2}, upstream={"keep_alive": 0})).wait_ready(3)
    slow.mode = fast.mode = "hang"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.chat)
        until(lambda: slow.active == fast.active == 1)
        slow.stop()
        until(lambda: gateway.backend("chat0")["in_flight"] == 0)
        assert not answer.done()
        assert gateway.backend("chat1")["in_flight"] == 1
        fast.stop()
        assert answer.result().status_code == 502
    line = gateway.request_line(answer.result().headers["x-request-id"])
    assert (line["outcome"], line["hedge"]["outcome"], line["attempts"]) == ("upstream_error", "failed", 2)
    assert [gateway.backend(each)["errors"] for each in ("chat0", "chat1")] == [1, 1]
    idle(gateway)
    assert count(gateway, "failed") == 1


def test_a_client_that_leaves_while_both_work_ends_both_at_once(start, two):
    slow, fast = two
    gateway = start(hedged(*two, breaker={"failures": 1})).wait_ready(3)
    slow.mode = fast.mode = "hang"
    with client_of(gateway):
        until(lambda: slow.active == fast.active == 1)
        left_at = time.monotonic()
    until(lambda: slow.closed_at and fast.closed_at, 1)
    assert max(*slow.closed_at, *fast.closed_at) - left_at < 1
    idle(gateway)
    assert count(gateway, "left") == 1
    line = until(lambda: [each for each in gateway.events("request") if each["status"] == 499])[-1]
    assert (line["outcome"], line["hedge"]["outcome"], line["attempts"]) == ("client_gone", "left", 2)
    assert [gateway.backend(each)["breaker"]["opened"] for each in ("chat0", "chat1")] == [0, 0]


def test_its_own_deadline_ends_a_call_at_both(start, two):
    slow, fast = two
    gateway = start(hedged(*two, breaker={"failures": 1})).wait_ready(3)
    slow.mode = fast.mode = "hang"
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
    answer = gateway.http.post("/v1/chat/completions", json=body, headers={"x-request-timeout": "0.7"})
    assert answer.status_code == 504
    until(lambda: slow.closed_at and fast.closed_at, 1)
    idle(gateway)
    assert [gateway.backend(each)["breaker"]["opened"] for each in ("chat0", "chat1")] == [0, 0]


def test_the_retry_budget_bounds_them(start, two):
    slow, fast = two
    gateway = start(hedged(*two, retries={"budget": 0.0, "budget_min": 2})).wait_ready(3)
    slow.delay_s, fast.mode = 1.0, "hang"
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(gateway.chat) for _ in range(6)]
        until(lambda: slow.active == 6)
        assert {answer.result().json()["backend"] for answer in answers} == {"slow"}
    assert len(fast.seen) == 2
    assert (count(gateway, "lost"), count(gateway, "budget")) == (2, 4)
    idle(gateway)
    fast.mode = "plain"
    assert gateway.chat().json()["backend"] == "fast"  # the budget is free again


def test_there_is_none_without_a_place_elsewhere(start, two):
    slow, fast = two
    config = hedged(*two)
    config["models"][0]["backends"][1]["concurrency"] = 1
    gateway = start(config).wait_ready(3)
    gateway.admin("POST", "/admin/backends/chat1/drain")
    slow.delay_s = 0.3
    assert gateway.chat().json()["backend"] == "slow"
    gateway.admin("POST", "/admin/backends/chat1/undrain")
    fast.mode = "hang"
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(gateway.chat) for _ in range(2)]
        assert {answer.result().json()["backend"] for answer in answers} == {"slow"}
    assert len(fast.seen) == 1
    assert count(gateway, "no_place") == 2
    idle(gateway)


def test_without_a_fixed_delay_it_is_learnt_from_what_calls_took(start, two):
    slow, fast = two
    gateway = start(hedged(*two, hedging={"enabled": True, "percentile": 90.0})).wait_ready(3)
    slow.delay_s = 0.02
    for _ in range(20):
        assert gateway.chat().status_code == 200
    assert not fast.seen  # nothing was known
    slow.mode = "hang"
    assert gateway.chat().json()["backend"] == "fast"
    idle(gateway)
