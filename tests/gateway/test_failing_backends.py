"""Backends that fail: what is saved elsewhere, who gets a pause, and that no place is lost over it."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from tests.gateway.process import KEY, config_for, until
from tests.gateway.raw import ANSWER, DONE, EVENT, EVENTS, JSON, Raw, chunk, sized

CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
QUICK = {"failures": 3, "recovery_s": 0.3, "recovery_max_s": 1.2}
SAFE = [
    pytest.param(b"", id="nothing"),
    pytest.param(sized(b'{"error":{"message":"m"}}', b"HTTP/1.1 502 B\r\n"), id="502"),
    pytest.param(sized(b'{"error":{"message":"m"}}', b"HTTP/1.1 503 S\r\n"), id="503"),
    pytest.param(sized(b"<html>", b"HTTP/1.1 504 T\r\n"), id="504"),
    pytest.param(JSON + b"content-length: 10\r\n\r\n", id="a head, and no body"),
]


@pytest.fixture
def bad():
    made = Raw()
    yield made
    made.stop()


def two(bad, good, **extra):
    """One model at both, another at `bad` alone. No connection is kept, so that each call arrives once."""
    config = config_for(bad, good, upstream={"keep_alive": 0}, **extra)
    config["models"][1]["backends"] = [{"id": "alone", "url": bad.url}]
    return config


def wait_idle(gateway, *ids):
    until(lambda: all(gateway.backend(each)["in_flight"] == 0 for each in ids))


# Trying again.


@pytest.mark.parametrize("answer", SAFE)
@pytest.mark.parametrize("stream", [False, True])
def test_what_reached_no_client_is_saved_by_the_other_backend(start, make_stub, bad, answer, stream):
    bad.answer = answer
    gateway = start(two(bad, make_stub("good"), retries={"budget_min": 10})).wait_ready(3)
    answers = [gateway.chat(stream=stream) for _ in range(8)]
    assert {each.status_code for each in answers} == {200}
    assert bad.calls > 0
    lines = [gateway.request_line(each.headers["x-request-id"]) for each in answers]
    assert {(line["backend"], line["outcome"]) for line in lines} == {("chat1", "ok")}
    assert max(line["attempts"] for line in lines) == 2
    wait_idle(gateway, "chat0", "chat1")
    assert b"infctl_retries_total" in gateway.http.get("/metrics").content


def test_a_stream_that_breaks_before_its_first_event_is_saved(start, make_stub, bad):
    bad.answer = EVENTS + CHUNKED
    gateway = start(two(bad, make_stub("good"))).wait_ready(3)
    answers = [gateway.chat(stream=True) for _ in range(4)]
    assert all(each.content.endswith(DONE) for each in answers)
    assert bad.calls > 0


@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        pytest.param(EVENTS + CHUNKED + chunk(EVENT), True, id="a stream with an event"),
        pytest.param(JSON + b"content-length: 5000\r\n\r\n{", False, id="a body with a byte"),
        pytest.param(sized(b'{"error":{"message":"boom"}}', b"HTTP/1.1 500 X\r\n"), False, id="500"),
        pytest.param(sized(b'{"error":{"message":"busy"}}', b"HTTP/1.1 429 X\r\n"), False, id="429"),
        pytest.param(b"\0\1 garbage\r\n\r\n", False, id="no HTTP"),
    ],
)
def test_what_is_not_safe_is_sent_once(start, make_stub, bad, answer, stream):
    bad.answer = answer
    good = make_stub("good")
    gateway = start(two(bad, good, breaker={"enabled": False})).wait_ready(3)
    answers = [gateway.chat(stream=stream) for _ in range(6)]
    assert bad.calls + len(good.seen) == 6
    assert bad.calls > 0
    lines = [gateway.request_line(each.headers["x-request-id"]) for each in answers]
    assert {line["attempts"] for line in lines} == {1}


def test_without_another_backend_the_failure_is_the_answer(start, make_stub, bad):
    bad.answer = b""
    gateway = start(two(bad, make_stub())).wait_ready(3)
    body = {"model": "embed", "input": "x"}
    assert gateway.http.post("/v1/embeddings", json=body).status_code == 502
    assert bad.calls == 1
    bad.answer = sized(b'{"error":{"message":"engine died"}}', b"HTTP/1.1 503 S\r\n")
    response = gateway.http.post("/v1/embeddings", json=body)
    assert (response.status_code, response.json()["error"]["message"]) == (503, "engine died")


def test_a_failing_fleet_is_not_met_by_a_multiple_of_its_load(start, bad):
    other = Raw()
    try:
        bad.answer = other.answer = b""
        config = two(bad, other, retries={"attempts": 5, "budget_min": 0, "budget": 0.0})
        gateway = start(config | {"breaker": {"enabled": False}}).wait_ready(3)
        assert {gateway.chat().status_code for _ in range(10)} == {502}
        assert bad.calls + other.calls == 10
        assert (
            b'infctl_retries_refused_total{model="chat",reason="budget"} 10'
            in gateway.http.get("/metrics").content
        )
    finally:
        other.stop()


def test_both_are_tried_and_neither_twice_in_a_row(start, bad):
    other = Raw()
    try:
        bad.answer = other.answer = b""
        gateway = start(two(bad, other, breaker={"enabled": False}, retries={"attempts": 4})).wait_ready(3)
        response = gateway.chat()
        assert response.status_code == 502
        assert gateway.request_line(response.headers["x-request-id"])["attempts"] == 4
        assert (bad.calls, other.calls) == (2, 2)
    finally:
        other.stop()


def test_a_retry_goes_elsewhere_even_where_the_policy_says_the_same_backend_again(start, make_stub, bad):
    bad.answer = b""
    balancing = {"session_header": "x-session-id", "prefix_bound": 10.0}
    config = two(bad, make_stub("good"), balancing=balancing, breaker={"enabled": False})
    gateway = start(config).wait_ready(3)
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
    attempts = set()
    for n in range(8):
        headers = {"x-session-id": f"s{n}"}
        answer = gateway.http.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200
        attempts.add(gateway.request_line(answer.headers["x-request-id"])["attempts"])
    assert attempts == {1, 2}


@pytest.mark.parametrize("stream", [False, True])
def test_a_backend_killed_under_load_loses_no_request_that_had_sent_no_byte(start, make_stub, stream):
    stubs = [make_stub("a"), make_stub("b")]
    for stub in stubs:
        stub.delay_s = 0.02
    gateway = start(config_for(*stubs, retries={"budget": 1.0})).wait_ready(3)
    statuses, texts = [], []
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            answer = gateway.chat(stream=stream)
            statuses.append(answer.status_code)
            texts.append(answer.content)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: len(statuses) > 40)
    stubs[1].stop()
    killed_at = len(statuses)
    until(lambda: len(statuses) > killed_at + 60)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    broken = [text for text in texts if b'"error"' in text]
    assert all(text.count(b"data:") > 1 for text in broken)  # these had sent a byte
    assert not stream or len(broken) <= 6
    wait_idle(gateway, "chat0", "chat1")


# The breaker.


def test_a_breaker_opens_is_shown_and_closes_again_without_user_traffic(start, make_stub):
    stubs = [make_stub("a"), make_stub("b")]
    gateway = start(config_for(*stubs, breaker=QUICK)).wait_ready(3)
    stubs[1].mode = "500"
    until(lambda: gateway.chat().content and gateway.events("breaker_open"))
    assert gateway.backend("chat1")["breaker"]["state"] in {"open", "half_open"}
    assert gateway.detailed()["status"] == "degraded"
    assert {gateway.chat().status_code for _ in range(20)} == {200}
    assert b'infctl_backend_breaker_changes_total{backend="chat1",model="chat",state="open"}' in (
        gateway.http.get("/metrics").content
    )
    until(lambda: len(gateway.events("breaker_open")) >= 2)
    assert [line["pause_s"] for line in gateway.events("breaker_open")[:2]] == [0.3, 0.6]
    stubs[1].mode = "plain"
    until(lambda: gateway.events("breaker_closed"))
    assert gateway.backend("chat1")["breaker"] == {
        "state": "closed", "failures": 0, "opened": len(gateway.events("breaker_open")), "retry_in_s": None,
    }  # fmt: skip
    assert gateway.detailed()["status"] == "ok"


def test_a_breaker_is_closed_for_a_backend_that_is_undrained(start, make_stub):
    stubs = [make_stub("a"), make_stub("b")]
    gateway = start(config_for(*stubs, breaker=QUICK | {"recovery_s": 600.0, "recovery_max_s": 600.0}))
    gateway.wait_ready(3)
    stubs[1].mode = "500"
    until(lambda: gateway.chat().content and gateway.events("breaker_open"))
    gateway.admin("POST", "/admin/backends/chat1/drain")
    stubs[1].mode = "plain"
    gateway.admin("POST", "/admin/backends/chat1/undrain")
    assert gateway.backend("chat1")["breaker"]["state"] == "closed"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sized(b'{"error":{"message":"m"}}', b"HTTP/1.1 400 X\r\n"), id="400"),
        pytest.param(sized(b'{"error":{"message":"m"}}', b"HTTP/1.1 429 X\r\n"), id="429"),
        pytest.param(sized(b'{"error":{"message":"m"}}', b"HTTP/1.1 503 X\r\n"), id="503"),
    ],
)
def test_a_4xx_and_a_busy_backend_are_no_failures(start, make_stub, bad, answer):
    bad.answer = answer
    gateway = start(two(bad, make_stub(), breaker={"failures": 1})).wait_ready(3)
    for _ in range(5):
        gateway.http.post("/v1/embeddings", json={"model": "embed", "input": "x"})
    assert bad.calls == 5
    assert gateway.backend("alone")["breaker"]["failures"] == 0
    assert gateway.backend("alone")["breaker"]["opened"] == 0


def test_a_client_that_leaves_says_nothing_of_the_backend(start, make_stub):
    stub = make_stub()
    gateway = start(config_for(stub, breaker={"failures": 1})).wait_ready(2)
    stub.mode = "hang"
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: stub.active == 1)
        until(lambda: stub.active == 0)
    wait_idle(gateway, "chat0")
    assert gateway.backend("chat0")["breaker"]["opened"] == 0


def test_the_last_backend_is_never_ejected_by_statistics(start, bad, make_stub):
    bad.answer = b""
    slow = {"failures": 2, "recovery_s": 60.0}
    gateway = start(two(bad, make_stub(), breaker=slow)).wait_ready(3)
    body = {"model": "embed", "input": "x"}
    for _ in range(6):
        assert gateway.http.post("/v1/embeddings", json=body).status_code == 502
    assert bad.calls == 6
    assert gateway.backend("alone")["breaker"]["state"] == "open"
    bad.answer = sized(ANSWER)
    assert gateway.http.post("/v1/embeddings", json=body).status_code == 200
    assert gateway.backend("alone")["breaker"]["state"] == "closed"


def test_a_hanging_engine_whose_health_is_fine_is_found_by_a_real_completion(start, make_stub):
    stubs = [make_stub("a"), make_stub("b")]
    probes = {"interval_s": 0.1, "loading_interval_s": 0.1, "timeout_s": 2.0}
    probes |= {"completion_interval_s": 0.2, "completion_timeout_s": 0.3}
    gateway = start(config_for(*stubs, probes=probes)).wait_ready(3)
    stubs[1].mode = "hang"
    until(lambda: gateway.backend("chat1")["state"] == "down")
    assert "no answer within 0.3 s" in gateway.backend("chat1")["why"]
    began = time.monotonic()
    assert {gateway.chat().status_code for _ in range(10)} == {200}
    assert time.monotonic() - began < 2
    stubs[1].mode = "plain"
    until(lambda: gateway.backend("chat1")["state"] == "ready")


def test_the_reference_platforms_variables_win_over_the_file(start, make_stub):
    stub = make_stub()
    keys = {"GATEWAY_API_KEY": KEY, "CIRCUIT_FAILURE_THRESHOLD": "2", "CIRCUIT_RECOVERY_TIMEOUT": "0.2"}
    gateway = start(config_for(stub), keys).wait_ready(2)
    stub.mode = "500"
    gateway.chat()
    assert gateway.backend("chat0")["breaker"]["failures"] == 1
    gateway.chat()
    until(lambda: gateway.events("breaker_open"))
    assert gateway.events("breaker_open")[0]["pause_s"] == 0.2


def test_who_asks_while_a_model_loads_is_told_how_long_it_takes(start, make_stub):
    stub = make_stub()
    stub.health = 503
    config = config_for(stub)
    config["models"][0]["backends"][0]["loading_s"] = 40.0
    gateway = start(config)
    until(lambda: gateway.lines and gateway.detailed()["backends"][0]["last_probe_s_ago"] is not None)
    reply = gateway.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_loading")
    assert 30 <= int(reply.headers["retry-after"]) <= 40
    assert 30 <= gateway.backend("chat0")["expected_in_s"] <= 40
    stub.health = 200
    until(lambda: gateway.chat().status_code == 200)
    assert gateway.backend("chat0")["expected_in_s"] is None
