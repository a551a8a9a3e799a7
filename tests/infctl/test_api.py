"""The client of the control plane: every way a gateway can misbehave ends in one clear GatewayError."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infctl.api import Api, KeyRefusedError
from infctl.errors import GatewayError

DETAILED = {
    "status": "degraded",
    "version": "0.1.0",
    "uptime_s": 3.5,
    "draining": False,
    "warnings": ["quotas are not enforced"],
    "models": [{"name": "chat", "tasks": ["chat"], "healthy": True}],
    "backends": [
        {
            "id": "chat",
            "model": "chat",
            "url": "http://127.0.0.1:8101",
            "state": "loading",
            "in_flight": 0,
            "requests": 7,
            "errors": 1,
            "last_probe_s_ago": None,
            "why": "connection refused",
        }
    ],
}


class Server:
    """Answers every request with `code` and `body` after `wait_s`."""

    def __init__(self) -> None:
        self.code, self.body, self.wait_s = 200, b"{}", 0.0
        self.release = threading.Event()
        self.authorization: list[str | None] = []
        self.cache_control: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.authorization.append(self.headers.get("authorization"))
                outer.cache_control.append(self.headers.get("cache-control"))
                outer.release.wait(outer.wait_s)
                try:
                    self.send_response(outer.code)
                    self.send_header("content-length", str(len(outer.body)))
                    self.end_headers()
                    self.wfile.write(outer.body)
                except OSError:
                    pass

            do_POST = do_GET  # noqa: N815 - the name http.server looks for

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.release.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def test_detailed_health_is_read_into_values_and_the_key_is_sent(server: Server) -> None:
    server.body = json.dumps(DETAILED).encode()
    with Api(server.url, "secret-key") as api:
        health = api.health()
    assert health.status == "degraded"
    assert health.warnings == ("quotas are not enforced",)
    assert health.backends[0].state == "loading"
    assert health.backends[0].last_probe_s_ago is None
    assert server.authorization == ["Bearer secret-key"]


def test_breaker_room_and_expected_time_of_a_server_are_read_where_they_are_told(server: Server) -> None:
    told = {
        "breaker": {"state": "open", "failures": 5, "opened": 2, "retry_in_s": 12.5},
        "capacity": 9,
        "expected_in_s": 20,
    }
    rows = [DETAILED["backends"][0] | told, DETAILED["backends"][0] | {"breaker": None}]  # type: ignore[index]
    server.body = json.dumps(DETAILED | {"backends": rows}).encode()
    with Api(server.url, "k") as api:
        known, unknown = api.health().backends
    assert (known.breaker, known.retry_in_s, known.capacity, known.expected_in_s) == ("open", 12.5, 9, 20.0)
    assert (unknown.breaker, unknown.capacity) == ("closed", None)


def test_a_question_to_a_model_is_not_answered_from_a_cache(server: Server) -> None:
    with Api(server.url, "k") as api:
        api.post("/v1/embeddings", {"input": "x"}, timeout_s=5)
        api.reachable()
    assert server.cache_control == ["no-cache", None]


def test_a_503_with_a_report_is_an_answer_not_a_failure(server: Server) -> None:
    server.code, server.body = 503, json.dumps({**DETAILED, "status": "down"}).encode()
    with Api(server.url, "k") as api:
        assert api.health().status == "down"
        assert api.reachable() == (True, "")


def test_nobody_listening_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Api(f"http://127.0.0.1:{port}", "k") as api:
        with pytest.raises(GatewayError, match=f"nothing answers at http://127.0.0.1:{port}") as caught:
            api.health()
        assert "infctl up" in caught.value.hint
        assert api.reachable()[0] is False
    assert caught.value.exit_code == 6


def test_a_refused_key_names_its_variable_and_never_shows_it(server: Server) -> None:
    server.code, server.body = 401, b'{"error": {"message": "no such key"}}'
    with Api(server.url, "hunter2", key_name="ADMIN_API_KEY") as api:
        with pytest.raises(KeyRefusedError, match="refuses the key: no such key") as caught:
            api.health()
        assert "hunter2" not in repr(api)
    assert "ADMIN_API_KEY" in caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_a_gateway_that_hangs_is_given_up_on_in_time(server: Server) -> None:
    server.wait_s = 30
    begun = time.monotonic()
    with Api(server.url, "k") as api, pytest.raises(GatewayError, match="no answer within 1 s"):
        api.post("/v1/embeddings", {"input": "x"}, timeout_s=1)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "body",
    [b"<html>hello</html>", b"[1, 2]", b'"ok"', b'{"status": "ok", "backends": [{}]}', b"{}", b"\xff\xfe"],
)
def test_a_stranger_on_the_port_is_recognised(server: Server, body: bytes) -> None:
    server.body = body
    with Api(server.url, "k") as api, pytest.raises(GatewayError, match="not from this gateway"):
        api.health()


def test_a_program_that_does_not_speak_http_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def banner() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=banner)
        thread.start()
        with Api(f"http://127.0.0.1:{port}", "k") as api, pytest.raises(GatewayError) as caught:
            api.health()
        thread.join()
    assert "another program" in caught.value.hint


def test_an_error_of_a_model_passes_its_message_on(server: Server) -> None:
    server.code, server.body = 503, b'{"error": {"message": "chat is loading, ready in about 20 s"}}'
    with Api(server.url, "k") as api, pytest.raises(GatewayError, match="answered 503: chat is loading"):
        api.post("/v1/chat/completions", {}, timeout_s=5)


def test_an_answer_without_end_is_cut_off(server: Server) -> None:
    server.body = b"x" * (9 * 1024 * 1024)
    with Api(server.url, "k") as api, pytest.raises(GatewayError, match="over 8,388,608 bytes"):
        api.health()
