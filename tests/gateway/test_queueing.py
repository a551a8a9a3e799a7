"""Calls that wait for a place: in fair order, no longer than they may, and gone when their client is."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.gateway.process import KEY, config_for, until
from tests.gateway.stub import Stub


def gated(*stubs, concurrency=1, timeout_s=2.0, **queue):
    config = config_for(*stubs, queue={"timeout_s": timeout_s} | queue)
    for backend in config["models"][0]["backends"]:
        backend["concurrency"] = concurrency
    return config


def waiting(gateway):
    return gateway.detailed()["models"][0]["waiting"]


def test_more_calls_than_places_wait_and_all_are_answered(start, make_stub):
    stub = make_stub()
    stub.delay_s = 0.05
    gateway = start(gated(stub, concurrency=2, timeout_s=10.0)).wait_ready(2)
    most = []
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(gateway.chat) for _ in range(20)]
        while not all(answer.done() for answer in answers):
            most.append(stub.active)
    assert {answer.result().status_code for answer in answers} == {200}
    assert max(most) == 2
    lines = [gateway.request_line(each.result().headers["x-request-id"]) for each in answers]
    assert sum(line["queue_ms"] > 0 for line in lines) >= 8
    assert all(line["queue_ms"] < line["total_ms"] for line in lines)
    assert b'infctl_queue_wait_seconds_count{model="chat"}' in gateway.http.get("/metrics").content
    assert (waiting(gateway), gateway.backend("chat0")["in_flight"]) == (0, 0)


def test_a_call_that_waited_too_long_is_told_when_to_come_back(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    gateway = start(gated(stub, timeout_s=0.3)).wait_ready(2)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_leave_after, gateway, 1.5)
        until(lambda: stub.active == 1)
        began = time.monotonic()
        answer = gateway.chat()
        took_s = time.monotonic() - began
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (503, "overloaded", "queue_timeout")
    assert int(answer.headers["retry-after"]) >= 1
    assert 0.299 <= took_s < 0.8  # a few ms, on a machine that has time
    line = gateway.request_line(answer.headers["x-request-id"])
    assert (line["outcome"], line["backend"], line["attempts"]) == ("refused", None, 0)
    assert 299 <= line["queue_ms"] < 800
    assert gateway.backend("chat0")["errors"] == 0
    metrics = gateway.http.get("/metrics").content
    assert b'infctl_queue_refused_total{model="chat",reason="timeout"} 1' in metrics


def test_a_tenant_may_be_more_patient_than_the_others(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    config = gated(stub, timeout_s=0.05, timeouts_s={"patient": 0.7})
    config["tenants"] = {"patient": {"addresses": ["127.0.0.1/32"]}}
    gateway = start(config).wait_ready(2)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_leave_after, gateway, 1.5)
        until(lambda: stub.active == 1)
        answer = gateway.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_timeout")
    assert "within 0.7 s" in answer.json()["error"]["message"]
    assert gateway.request_line(answer.headers["x-request-id"])["queue_ms"] >= 699


def test_who_finds_the_queue_full_is_told_at_once(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    gateway = start(gated(stub, timeout_s=5.0, waiting=1)).wait_ready(2)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(_leave_after, gateway, 2)
        until(lambda: stub.active == 1)
        pool.submit(_leave_after, gateway, 2)
        until(lambda: waiting(gateway) == 1)
        took: list[float] = []
        while not took or (took[-1] >= 0.5 and waiting(gateway) == 1):  # others may keep the cores busy
            began = time.monotonic()
            answer = gateway.chat()
            took.append(time.monotonic() - began)
        assert min(took) < 0.5, took
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (503, "overloaded", "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert "1 calls already wait" in answer.json()["error"]["message"]


def test_a_client_that_leaves_the_queue_is_gone_at_once_and_sends_nothing(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    gateway = start(gated(stub, timeout_s=30.0)).wait_ready(2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_leave_after, gateway, 3)
        until(lambda: stub.active == 1)
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(_request())
            until(lambda: waiting(gateway) == 1)
        until(lambda: waiting(gateway) == 0, 1)
        line = until(lambda: [each for each in gateway.events("request") if each["status"] == 499])[-1]
        assert (line["outcome"], line["attempts"]) == ("client_gone", 0)
        first.result()
    until(lambda: gateway.backend("chat0")["in_flight"] == 0)
    assert len(stub.seen) == 1


def test_tenants_that_wait_take_turns_by_weight(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    weights = {"10.0.0.1": 1.0, "10.0.0.2": 3.0}
    gateway = start(gated(stub, timeout_s=30.0, weights=weights)).wait_ready(2)

    def ask(tenant):
        return gateway.http.post(
            "/v1/chat/completions",
            headers={"x-forwarded-for": tenant},
            json={"model": "chat", "messages": [{"role": "user", "content": tenant}]},
        )

    with ThreadPoolExecutor(24) as pool:
        first = socket.create_connection(("127.0.0.1", gateway.port))
        first.sendall(_request())
        until(lambda: stub.active == 1)
        answers = [pool.submit(ask, "10.0.0.1") for _ in range(12)]
        until(lambda: waiting(gateway) == 12)
        answers += [pool.submit(ask, "10.0.0.2") for _ in range(12)]
        until(lambda: waiting(gateway) == 24)
        stub.mode = "plain"
        first.close()
        assert {answer.result().status_code for answer in answers} == {200}
    order = [json.loads(body)["messages"][0]["content"] for _, _, body in stub.seen[1:]]
    assert order[:16].count("10.0.0.2") == 12  # it came last, and is through first


def test_a_place_at_a_backend_that_comes_back_is_given_to_who_waits(start, make_stub):
    """Undrained, reloaded, ready again: the queue moves without a call that ends."""
    stub, other = make_stub("a"), make_stub("b")
    stub.mode = "hang"
    gateway = start(gated(stub, other, timeout_s=20.0)).wait_ready(3)
    gateway.admin("POST", "/admin/backends/chat1/drain")
    with ThreadPoolExecutor(2) as pool:
        pool.submit(_leave_after, gateway, 3)
        until(lambda: stub.active == 1)
        answer = pool.submit(gateway.chat)
        until(lambda: waiting(gateway) == 1)
        gateway.admin("POST", "/admin/backends/chat1/undrain")
        assert answer.result().json()["backend"] == "b"


def test_a_storm_of_calls_that_leave_in_any_phase_leaks_no_place(start, make_stub):
    stubs = [make_stub("a"), make_stub("b")]
    for stub in stubs:
        stub.delay_s = 0.02
    gateway = start(gated(*stubs, concurrency=2, timeout_s=0.2, waiting=8)).wait_ready(3)
    stop = threading.Event()

    def storm(seed):
        n = seed
        while not stop.is_set():
            n = n * 1103515245 + 12345 & 0x7FFFFFFF
            with socket.create_connection(("127.0.0.1", gateway.port)) as client:
                client.sendall(_request(stream=bool(n & 1)))
                client.settimeout((n >> 8) % 100 / 1000 + 0.001)
                with contextlib.suppress(TimeoutError):
                    client.recv(65536)

    threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    stubs[1].stop()
    until(lambda: len(gateway.events("request")) > 300, 20)
    stubs[1].start_again()
    until(lambda: len(gateway.events("request")) > 600, 20)
    stop.set()
    for thread in threads:
        thread.join()
    until(lambda: all(gateway.backend(each)["in_flight"] == 0 for each in ("chat0", "chat1")))
    assert waiting(gateway) == 0
    assert not gateway.events("internal_error")
    until(lambda: gateway.backend("chat1")["state"] == "ready")
    with ThreadPoolExecutor(4) as pool:  # all four places are still there
        assert {answer.status_code for answer in pool.map(lambda _: gateway.chat(), range(12))} == {200}


def _request(*, stream=False):
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    text = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-length: {len(text)}\r\n\r\n".encode() + text


def _leave_after(gateway, seconds):
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(_request())
        client.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            client.recv(65536)


def test_a_call_that_failed_waits_for_a_place_elsewhere_and_goes_before_others(start, make_stub):
    """Its backend broke off; the other one is full: saved, all the same."""
    bad, good = make_stub("bad"), make_stub("good")
    config = gated(bad, good, timeout_s=20.0)
    gateway = start(config | {"breaker": {"enabled": False}}).wait_ready(3)
    good.mode = bad.mode = "hang"
    with contextlib.ExitStack() as held, ThreadPoolExecutor(3) as pool:
        holders: dict[Stub, socket.socket] = {}
        for _ in range(2):
            client = held.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            client.sendall(_request())
            until(lambda: any(stub.active and stub not in holders for stub in (bad, good)))
            holders[next(stub for stub in (bad, good) if stub.active and stub not in holders)] = client
        waiters = [pool.submit(gateway.chat) for _ in range(3)]
        until(lambda: waiting(gateway) == 3)
        bad.mode, good.mode = "reset before", "plain"
        holders[bad].close()  # its place goes to a waiter, whom it fails
        until(lambda: sum("chat/completions" in path for path, _, _ in bad.seen) >= 2)
        holders[good].close()
        answers = [waiter.result() for waiter in waiters]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["backend"] for answer in answers} == {"good"}
    lines = [gateway.request_line(answer.headers["x-request-id"]) for answer in answers]
    assert max(line["attempts"] for line in lines) >= 2
    until(lambda: all(gateway.backend(each)["in_flight"] == 0 for each in ("chat0", "chat1")))
