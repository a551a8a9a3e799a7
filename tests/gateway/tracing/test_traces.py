"""A real gateway that traces, to a real collector on loopback: which spans, whose, and what is in them."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway import app
from gateway.live import Live
from gateway.log import Journal
from gateway.serve import Serve
from gateway.settings import read_settings
from gateway.trace import read
from gateway.tracing import export
from tests.gateway.process import ADMIN, BACKEND, KEY, Gateway, config_for, until
from tests.gateway.stub import Stub
from tests.gateway.tracing.collector import Collector

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
CANARY = "prompt-canary-4711"
CHAT = {"model": "chat", "messages": [{"role": "user", "content": CANARY}], "max_tokens": 5}
KEYS = {"GATEWAY_API_KEY": KEY, "ADMIN_API_KEY": ADMIN, "BACKEND_API_KEY": BACKEND, "PATH": "/usr/bin:/bin"}
QUICKLY = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


class Place:
    """Two stubs, a gateway before them, a collector beside it."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.collector, self.stubs = Collector(), [Stub("a"), Stub("b")]
        config = config_for(*self.stubs, tracing={"endpoint": self.collector.url}, **more)
        for backend in config["models"][0]["backends"]:
            backend["concurrency"] = 1
        env = {**KEYS, **QUICKLY, "OTEL_EXPORTER_OTLP_HEADERS": "x-collector-key=collector%20canary"}
        self.gateway = Gateway(folder, config, env)
        self.gateway.wait_ready(3)

    def ask(self, path: str = "/v1/chat/completions", body: Any = CHAT, **headers: str) -> httpx.Response:
        return self.gateway.http.post(path, json=body, headers=headers)

    def spans(self, request_id: str) -> list[dict[str, Any]]:
        """Of one request: the server's first."""

        def found() -> dict[str, Any] | None:
            mine = (span for span in self.collector.spans if span.get("infctl.request_id") == request_id)
            return next(mine, None)

        server = until(found, 20)
        return [server, *(span for span in self.collector.spans if span["parent_id"] == server["span_id"])]

    def of(self, answer: httpx.Response) -> list[dict[str, Any]]:
        return self.spans(answer.headers["x-request-id"])

    def sent(self) -> list[dict[str, str]]:
        """Headers of the calls that came to a stub."""
        return [
            headers for stub in self.stubs for line, headers, _ in stub.seen if line.startswith("POST /v1/")
        ]

    def lost(self) -> float:
        text = self.gateway.http.get("/metrics").text
        line = next(
            line for line in text.splitlines() if line.startswith('infctl_trace_spans_total{outcome="lost"')
        )
        return float(line.split()[-1])

    def stop(self) -> None:
        try:
            self.gateway.stop()
        finally:
            for each in (*self.stubs, self.collector):
                each.stop()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    found = Place(tmp_path_factory.mktemp("traces"), breaker={"enabled": False}, queue={"timeout_s": 5.0})
    yield found
    found.stop()


@pytest.fixture
def place(standing: Place) -> Place:
    for stub in standing.stubs:
        stub.mode, stub.delay_s = "plain", 0.0
        stub.seen.clear()
    return standing


def test_a_call_is_a_child_of_its_clients_span_and_the_backends_of_its_attempt(place: Place) -> None:
    before_ns = time.time_ns()
    answer = place.ask(traceparent=SAMPLED, tracestate="vendor=1")
    server, attempt = place.of(answer)
    assert (server["trace_id"], server["parent_id"], server["kind"]) == (TRACE, SPAN, "server")
    assert server["name"] == "POST /v1/chat/completions"
    assert (attempt["trace_id"], attempt["kind"], attempt["name"]) == (TRACE, "client", "chat chat")
    [headers] = place.sent()
    assert headers["traceparent"] == f"00-{TRACE}-{attempt['span_id']}-01"
    assert headers["tracestate"] == "vendor=1"
    times = [server["began_ns"], attempt["began_ns"], attempt["ended_ns"], server["ended_ns"]]
    assert times == sorted(times)
    assert before_ns - 5_000_000 <= times[0]
    assert times[-1] <= time.time_ns() + 5_000_000


def test_attributes_are_those_of_the_conventions_and_ours(place: Place) -> None:
    server, attempt = place.of(place.ask(traceparent=SAMPLED))
    line = place.gateway.request_line(server["infctl.request_id"])
    assert {name: value for name, value in server.items() if "." in name} == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "chat",
        "gen_ai.usage.input_tokens": line["prompt_tokens"],
        "gen_ai.usage.output_tokens": line["completion_tokens"],
        "infctl.request_id": line["request_id"],
        "infctl.outcome": "ok",
        "infctl.attempts": 1,
        "infctl.stream": False,
        "infctl.tenant": "127.0.0.1",
        "infctl.backend": line["backend"],
    }
    assert {name: value for name, value in attempt.items() if "." in name} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "chat",
        "server.address": "127.0.0.1",
        "server.port": place.stubs[int(line["backend"][-1])].port,
        "infctl.backend": line["backend"],
        "http.response.status_code": 200,
    }
    assert place.collector.resources[0]["service.name"] == "infctl-gateway"
    assert place.collector.paths[0] == "/v1/traces"
    assert place.collector.headers[0]["x-collector-key"] == "collector canary"


def test_a_stream_tells_its_time_to_the_first_token(place: Place) -> None:
    server, _ = place.of(place.ask(body=CHAT | {"stream": True}, traceparent=SAMPLED))
    assert server["infctl.stream"] is True
    assert 0 < server["gen_ai.latency.time_to_first_token"] < 5


def test_without_a_trace_one_begins(place: Place) -> None:
    answer = place.ask()
    server, attempt = place.of(answer)
    assert server["parent_id"] == ""
    [headers] = place.sent()
    parent = read(headers["traceparent"].encode())
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.sampled) == (server["trace_id"], attempt["span_id"], True)


@pytest.mark.parametrize("odd", ["nonsense", SAMPLED + "-x", f"00-{'0' * 32}-{SPAN}-01"])
def test_what_is_no_trace_is_not_passed_on(place: Place, odd: str) -> None:
    server, attempt = place.of(place.ask(traceparent=odd, tracestate="vendor=1"))
    [headers] = place.sent()
    assert headers["traceparent"] == f"00-{server['trace_id']}-{attempt['span_id']}-01"
    assert "tracestate" not in headers
    assert server["trace_id"] not in {TRACE, "0" * 32}


def test_who_does_not_sample_is_passed_on_and_not_recorded(place: Place) -> None:
    answer = place.ask(traceparent=UNSAMPLED, tracestate="vendor=1")
    [headers] = place.sent()
    assert (headers["traceparent"], headers["tracestate"]) == (UNSAMPLED, "vendor=1")
    place.of(place.ask())  # what comes later has arrived
    request_id = answer.headers["x-request-id"]
    assert not [span for span in place.collector.spans if span.get("infctl.request_id") == request_id]


def test_each_attempt_is_a_span_and_the_failed_ones_say_why(place: Place) -> None:
    for stub in place.stubs:
        stub.mode = "reset before"
    answer = place.ask(traceparent=SAMPLED)
    assert answer.status_code == 502
    server, *attempts = place.of(answer)
    assert server["failed"]
    assert server["error.type"] == "upstream_head"
    assert server["infctl.attempts"] == len(attempts) >= 2
    assert all(each["failed"] and each["error.type"].startswith("upstream_") for each in attempts)
    assert [each.get("http.request.resend_count", 0) for each in attempts] == list(range(len(attempts)))
    assert len({each["infctl.backend"] for each in attempts}) == 2
    assert {headers["traceparent"] for headers in place.sent()} == {
        f"00-{TRACE}-{each['span_id']}-01" for each in attempts
    }


def test_a_wait_for_a_place_is_a_span(place: Place) -> None:
    for stub in place.stubs:
        stub.delay_s = 0.4
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(place.ask(traceparent=SAMPLED))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    waits = [span for answer in answers for span in place.of(answer)[1:] if span["kind"] == "internal"]
    assert [(span["name"], span["infctl.wait"]) for span in waits] == [("queue", "place")]
    assert waits[0]["ended_ns"] - waits[0]["began_ns"] > 50_000_000


def test_a_refusal_has_a_span_and_no_attempt(place: Place) -> None:
    [server] = place.of(place.ask(body=CHAT | {"model": "none"}, traceparent=SAMPLED))
    assert (server["infctl.outcome"], server["error.type"]) == ("refused", "model_not_found")
    assert not server["failed"]
    assert "gen_ai.request.model" not in server


def test_health_and_metrics_have_none(place: Place) -> None:
    for path in ("/health", "/metrics", "/v1/models"):
        assert place.gateway.http.get(path, headers={"traceparent": SAMPLED}).status_code == 200
    place.of(place.ask())
    assert not [span for span in place.collector.spans if span["name"].startswith("GET")]


def test_no_prompt_no_answer_and_no_key_is_sent(place: Place) -> None:
    place.of(place.ask(**{"x-request-id": "someone@example.org"}))
    for secret in (CANARY, KEY, ADMIN, BACKEND, "Paris", "someone@example.org"):
        assert secret.encode() not in place.collector.raw, secret


def test_of_two_at_once_the_one_that_lost_is_left(tmp_path: Path) -> None:
    place = Place(tmp_path, hedging={"enabled": True, "after_s": 0.1})
    try:
        place.stubs[0].delay_s = place.stubs[1].delay_s = 0.5
        answer = place.ask(traceparent=SAMPLED)
        assert answer.status_code == 200
        server, first, second = place.of(answer)
        assert {first["infctl.backend"], second["infctl.backend"]} == {"chat0", "chat1"}
        won, lost = (
            (first, second) if first["infctl.backend"] == server["infctl.backend"] else (second, first)
        )
        assert (won["failed"], won["http.response.status_code"]) == (False, 200)
        assert (lost["failed"], lost["error.type"]) == (False, "left")
        assert lost["ended_ns"] <= won["ended_ns"]
        assert second["began_ns"] - first["began_ns"] > 80_000_000
        assert len({headers["traceparent"] for headers in place.sent()}) == 2
    finally:
        place.stop()


def test_a_collector_that_is_away_costs_spans_that_are_counted_and_no_call(tmp_path: Path) -> None:
    place = Place(tmp_path)
    try:
        place.collector.status = 400
        answers = [place.ask() for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        until(lambda: place.lost() == 6, 20)
        assert place.gateway.events("traces_lost")
        place.collector.status = 200
        place.of(place.ask())
        until(lambda: place.gateway.events("traces_sent_again"), 10)
        assert place.lost() == 6
    finally:
        place.stop()


def test_the_variable_turns_it_on_and_wins(tmp_path: Path) -> None:
    collector, stub = Collector(), Stub()
    config = config_for(stub, tracing={"endpoint": "http://127.0.0.1:1"})
    gateway = Gateway(tmp_path, config, {**KEYS, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url + "/"})
    try:
        gateway.wait_ready(2)
        assert gateway.chat().status_code == 200
        gateway.stop()
        assert [span["kind"] for span in collector.spans] == ["server", "client"]  # sent before it ended
    finally:
        gateway.stop()
        collector.stop()
        stub.stop()


def test_an_address_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, config_for(_Nowhere()), {**KEYS, "OTEL_EXPORTER_OTLP_ENDPOINT": "collector"})
    assert gateway.process.wait(20) == 3
    gateway.stop()
    assert b"OTEL_EXPORTER_OTLP_ENDPOINT" in gateway.errors + gateway.text


def test_without_the_package_calls_are_served_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(config_for(_Nowhere(), tracing={"endpoint": "http://127.0.0.1:1"})))
    log = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)

    async def main() -> Live:
        settings = read_settings(file, KEYS)
        live, server = app._assemble(settings, Journal(settings.config.log, lambda: 0.0, log), 0.0)
        assert type(server.handler) is Serve
        live.journal.close()
        return live

    live = asyncio.run(main())
    os.close(log)
    assert export.MISSING in live.warnings
    assert b'"tracing_off"' in (tmp_path / "log").read_bytes()


class _Nowhere:
    url = "http://127.0.0.1:1"
