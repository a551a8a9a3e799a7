"""What the gateway's numbers say of real calls: each is where it belongs, once."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.gateway.process import KEY, Gateway, config_for, until


def number(gateway: Gateway, name: str, **labels: str) -> float:
    """The sum of the series that have these labels."""
    return sum(
        sample.value
        for family in read_text(gateway.admin("GET", "/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def streamed(gateway: Gateway) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        for _ in reply.iter_raw():
            pass


def test_a_stream_counts_its_times_and_its_end(start, make_stub):
    gateway = start(config_for(stub := make_stub())).wait_ready(2)
    stub.delay_s = 0.02
    streamed(gateway)
    assert number(gateway, "infctl_streams_total", model="chat", outcome="done") == 1
    assert number(gateway, "infctl_time_to_first_token_seconds_count", model="chat") == 1
    assert number(gateway, "infctl_time_per_output_token_seconds_count", model="chat") == 1
    each_s = number(gateway, "infctl_time_per_output_token_seconds_sum", model="chat")
    assert 0.02 <= each_s < number(gateway, "infctl_request_duration_seconds_sum", model="chat") / 6
    assert (
        number(gateway, "gen_ai_server_time_to_first_token_seconds_count", gen_ai_request_model="chat") == 1
    )


def test_a_stream_that_goes_wrong_is_no_done_one(start, make_stub):
    gateway = start(config_for(stub := make_stub())).wait_ready(2)
    for stub.mode in ("error mid", "no done", "reset mid"):
        streamed(gateway)
    assert number(gateway, "infctl_streams_total", outcome="error") == 1
    assert number(gateway, "infctl_streams_total", outcome="truncated") == 2
    assert number(gateway, "infctl_streams_total") == 3


def test_a_stream_that_its_client_leaves_and_one_that_falls_silent(start, make_stub):
    gateway = start(config_for(stub := make_stub(), timeouts={"stream_idle_s": 0.4, "drain_s": 5.0}))
    gateway.wait_ready(2)
    stub.delay_s = 0.05
    body: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as reply:
        next(reply.iter_raw())
    until(lambda: number(gateway, "infctl_streams_total", outcome="client_gone") == 1)
    stub.delay_s = 2.0
    streamed(gateway)
    assert number(gateway, "infctl_streams_total", outcome="idle") == 1


def test_the_gateways_own_time_is_neither_the_backends_nor_the_queues(start, make_stub):
    config = config_for(stub := make_stub())
    config["models"][0]["backends"][0]["concurrency"] = 1
    gateway = start(config).wait_ready(2)
    stub.delay_s = 0.3
    with httpx.Client(base_url=gateway.url, headers=gateway.http.headers, trust_env=False) as other:
        first = threading.Thread(target=lambda: other.post("/v1/chat/completions", json=_plain()))
        first.start()
        until(lambda: number(gateway, "infctl_requests_in_flight", model="chat") == 1)
        assert gateway.chat().status_code == 200
        first.join()
    assert number(gateway, "infctl_queue_wait_seconds_sum") > 0.05
    assert number(gateway, "infctl_gateway_overhead_seconds_count", model="chat") == 2
    assert number(gateway, "infctl_gateway_overhead_seconds_sum", model="chat") < 0.05


def _plain() -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": "x"}]}


def test_a_backend_that_is_down_is_not_up_and_each_sending_is_an_attempt(start, make_stub):
    stubs = [make_stub(), make_stub()]
    config = config_for(*stubs, breaker={"failures": 2, "recovery_s": 60})
    gateway = start(config).wait_ready(3)
    assert number(gateway, "infctl_backend_up", model="chat") == 2
    stubs[1].mode = "500"
    for _ in range(8):
        gateway.chat()
    assert number(gateway, "infctl_backend_up", backend="chat1") == 0
    sent = sum(path.endswith("/chat/completions") for stub in stubs for path, _, _ in stub.seen)
    assert number(gateway, "infctl_backend_attempts_total", model="chat") == sent
    assert number(gateway, "infctl_backend_failures_total", backend="chat1") == 2
    stubs[0].stop()
    until(lambda: number(gateway, "infctl_backend_up", model="chat") == 0)


def test_cached_prompt_tokens_are_their_tenants(start, make_stub):
    gateway = start(config_for(stub := make_stub())).wait_ready(2)
    stub.cached = 3
    assert gateway.chat().json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    assert number(gateway, "infctl_cached_prompt_tokens_total", tenant="127.0.0.1", model="chat") == 3


def test_what_is_leased_and_reserved_is_told_by_limit(start, make_stub, tmp_path):
    config = config_for(stub := make_stub(), store={"path": str(tmp_path / "s.db")})
    config["limits"] = {"tokens_per_day": 100_000, "in_flight": 10}
    gateway = start(config).wait_ready(2)
    assert gateway.chat(max_tokens=5).status_code == 200
    assert number(gateway, "infctl_reserved", limit="tokens_per_day") == 0
    assert number(gateway, "infctl_leased", limit="tokens_per_day") >= 0
    stub.mode = "hang"
    with pytest.raises(httpx.ReadTimeout):
        gateway.http.post("/v1/chat/completions", json=_plain() | {"max_tokens": 5}, timeout=0.3)
    stub.mode = "plain"
    until(lambda: number(gateway, "infctl_reserved", limit="in_flight") == 0)


def test_how_it_is_configured_and_since_when(start, make_stub, tmp_path):
    before = time.time()
    gateway = start(config_for(make_stub(), store={"path": str(tmp_path / "s.db")})).wait_ready(2)
    labels = {"balancing": "least_in_flight", "store": "sqlite", "audit": "off", "cache": "on"}
    assert number(gateway, "infctl_config_info", **labels) == 1
    first = number(gateway, "infctl_config_loaded_time_seconds")
    assert before < first < time.time()
    gateway.signal(1)
    until(lambda: number(gateway, "infctl_config_loaded_time_seconds") > first)


def test_a_wrong_metrics_token_sees_no_numbers(start, make_stub):
    gateway = start(config_for(make_stub()) | {"metrics_open_to": ["10.0.0.0/8"]})
    until(lambda: gateway.events("started"))
    for token in ("", "Bearer", "Bearer wrong", "Basic YWRtaW4=", f"Bearer {KEY}", "Bearer " + "x" * 9000):
        found = httpx.get(f"{gateway.url}/metrics", headers={"authorization": token} if token else {})
        assert found.status_code in {401, 403}
        assert "infctl_" not in found.text
        assert found.json()["error"]["message"]
