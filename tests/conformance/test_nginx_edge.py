"""The rendered nginx.conf, served by a real nginx in front of a loopback stub: what clients see."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infctl import tls
from infctl.host import look
from infctl.plan import place
from infctl.profile.schema import Profile
from infctl.render import render
from infctl.stack import Layout
from infctl.stack.build import build
from infctl.stack.names import EDGE

DEADLINE_S = 20.0
BODY_BYTES = 64 * 1024


class Stub(http.server.BaseHTTPRequestHandler):
    """A gateway that shows what reached it, and streams on command."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/stream":
            self._stream()
            return
        if self.path == "/big":
            self._json(200, {"data": "x" * 20_000})
            return
        if self.path == "/refused":
            self._json(429, {"error": {"code": "tokens_per_day"}}, ("Retry-After", "77"))
            return
        headers = {name.lower(): self.headers.get_all(name) for name in self.headers}
        self._json(200, {"path": self.path, "headers": headers}, ("X-Request-Id", "req_of_the_gateway"))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        go_on: threading.Event = self.server.go_on  # type: ignore[attr-defined]
        self._chunk(b"data: first\n\n")
        # The second event waits until the client says that it has the first.
        self._chunk(b"data: second\n\n" if go_on.wait(DEADLINE_S) else b"data: never asked\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(self, status: int, data: object, *headers: tuple[str, str]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), *headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@dataclass
class Edge:
    https: int
    http: int
    gateway: int
    home: Path
    process: subprocess.Popen[bytes]
    go_on: threading.Event = field(default_factory=threading.Event)

    def context(self) -> ssl.SSLContext:
        """Trusts the self-signed certificate and nothing else; names are checked."""
        return ssl.create_default_context(cafile=str(self.home / "rendered/tls/certificate.pem"))

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.https, timeout=10, context=self.context())

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def log(self) -> str:
        return (self.home / "nginx.log").read_text()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def prepared(tmp: Path, ports: list[int], extra: dict[str, object]) -> tuple[str, ...]:
    """Renders into `tmp`; returns nginx's argv as the stack has it."""
    profile = Profile.model_validate(
        {
            "name": "edge-test",
            "runtime": "process",
            "gpus": "cpu",
            "models": {"chat": {"source": "a/b", "task": "chat"}},
            "gateway": {"listen": {"port": ports[0]}},
            "edge": {
                "bind": "127.0.0.1",
                "https_port": ports[1],
                "http_port": ports[2],
                "body_size": BODY_BYTES,
            }
            | extra,
        }
    )
    layout = Layout(tmp, tmp)
    plan = place(profile, ())
    stack = build(profile, plan, layout, look())
    layout.rendered.mkdir()
    layout.state.mkdir()
    for file in render(stack, profile, plan, layout):
        (layout.rendered / file.path).write_text(file.text)
    tls.self_signed(layout.rendered / "tls", tls.names_of(profile.edge.server_name), now=datetime.now(UTC))
    return stack.service(EDGE).argv


@contextlib.contextmanager
def running(tmp: Path, **extra: object) -> Iterator[Edge]:
    ports = free_ports(3)
    argv = prepared(tmp, ports, extra)
    with (tmp / "nginx.log").open("ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    edge = Edge(ports[1], ports[2], ports[0], tmp, process)
    try:
        wait_for_port(edge)
        yield edge
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


def wait_for_port(edge: Edge) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert edge.process.poll() is None, edge.log()
        try:
            socket.create_connection(("127.0.0.1", edge.https), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, edge.log()
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("edge")) as found:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", found.gateway), Stub)
        server.go_on = found.go_on  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Edge]:
    """An edge whose gateway is away."""
    with running(tmp_path) as found:
        yield found


def test_first_event_arrives_before_the_second_is_sent(edge: Edge) -> None:
    edge.go_on.clear()
    with contextlib.closing(edge.connect()) as connection:
        connection.request("GET", "/stream", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert answer.headers["Content-Encoding"] is None
        assert answer.read1(100) == b"data: first\n\n"
        edge.go_on.set()
        assert answer.read() == b"data: second\n\n"


def test_every_answer_carries_the_security_headers(edge: Edge) -> None:
    for path in ("/v1/models", "/refused", "/-/edge"):
        _, headers, _ = edge.ask(path)
        assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["Server"] == "nginx"


def test_docs_may_run_their_own_scripts(edge: Edge) -> None:
    for path in ("/docs", "/docs/assets/x.js", "/docs?x=1"):
        assert "script-src 'self'" in edge.ask(path)[1]["Content-Security-Policy"]
    assert "script-src" not in edge.ask("/docsy")[1]["Content-Security-Policy"]


def test_http_is_redirected_with_its_method_and_query(edge: Edge) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", edge.http, timeout=10)) as connection:
        connection.request("POST", "/v1/chat/completions?a=b", b"{}", {"Host": "llm.example"})
        answer = connection.getresponse()
        assert answer.status == 308
        assert answer.headers["Location"] == f"https://llm.example:{edge.https}/v1/chat/completions?a=b"


def test_tls_below_1_2_is_refused(edge: Edge) -> None:
    for version in ("-tls1", "-tls1_1"):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{edge.https}", version,
             "-cipher", "ALL:@SECLEVEL=0"],
            input=b"", capture_output=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        assert b"protocol version" in done.stderr, done.stderr


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http2_is_negotiated_over_tls_1_2_and_1_3(edge: Edge, version: ssl.TLSVersion) -> None:
    context = edge.context()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", edge.https), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.selected_alpn_protocol() == "h2"


def get_over_http2(edge: Edge, path: str) -> Iterator[bytes]:
    """One GET in bare frames; yields the data as it arrives. HPACK: static table and literals only."""
    context = edge.context()
    context.set_alpn_protocols(["h2"])
    head = b"\x82\x87" + b"\x04" + bytes([len(path)]) + path.encode() + b"\x01\x09localhost"
    with (
        socket.create_connection(("127.0.0.1", edge.https), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        settings = b"\0\0\0\x04\0\0\0\0\0"
        request = len(head).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + head
        wrapped.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + request)
        with wrapped.makefile("rb") as stream:
            while True:
                prefix = stream.read(9)
                length, kind, flags = int.from_bytes(prefix[:3], "big"), prefix[3], prefix[4]
                data = stream.read(length)
                if kind == 0:
                    yield data
                    if flags & 1:
                        return
                assert kind not in {3, 7}, f"reset or goodbye: {data!r}"


def test_streams_are_not_held_back_over_http2_either(edge: Edge) -> None:
    edge.go_on.clear()
    pieces = get_over_http2(edge, "/stream")
    assert next(pieces) == b"data: first\n\n"
    edge.go_on.set()
    assert b"".join(pieces) == b"data: second\n\n"


def test_client_address_cannot_be_spoofed(edge: Edge) -> None:
    _, _, body = edge.ask(
        "/echo",
        X_Forwarded_For="6.6.6.6",
        X_Real_IP="6.6.6.6",
        Forwarded="for=6.6.6.6",
        X_Forwarded_Proto="gopher",
    )
    headers = json.loads(body)["headers"]
    assert headers["x-forwarded-for"] == ["127.0.0.1"]
    assert headers["x-real-ip"] == ["127.0.0.1"]
    assert headers["x-forwarded-proto"] == ["https"]
    assert "forwarded" not in headers
    assert "6.6.6.6" not in body.decode()


def test_upgrades_are_not_passed_on(edge: Edge) -> None:
    status, _, body = edge.ask("/echo", Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13")
    assert status == 200
    assert "upgrade" not in json.loads(body)["headers"]


def test_path_query_and_request_id_pass_unchanged(edge: Edge) -> None:
    _, headers, body = edge.ask("/a//b%2Fc?x=1%20", X_Request_Id="mine")
    seen = json.loads(body)
    assert seen["path"] == "/a//b%2Fc?x=1%20"
    assert seen["headers"]["x-request-id"] == ["mine"]
    assert headers["X-Request-Id"] == "req_of_the_gateway"


def test_the_gateways_own_refusal_passes_unchanged(edge: Edge) -> None:
    status, headers, body = edge.ask("/refused")
    assert (status, headers["Retry-After"], json.loads(body)["error"]["code"]) == (
        429,
        "77",
        "tokens_per_day",
    )


def test_json_is_compressed_for_those_who_ask(edge: Edge) -> None:
    assert edge.ask("/big", Accept_Encoding="gzip")[1]["Content-Encoding"] == "gzip"
    assert edge.ask("/big")[1]["Content-Encoding"] is None


def error_of(body: bytes) -> dict[str, object]:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


def test_a_body_too_large_is_a_413_in_json(edge: Edge) -> None:
    status, headers, body = edge.ask("/v1/embeddings", "POST", b"x" * (BODY_BYTES + 1))
    assert (status, headers["Content-Type"]) == (413, "application/json")
    assert error_of(body)["code"] == "body_too_large"
    assert headers["X-Frame-Options"] == "DENY"
    assert edge.ask("/v1/embeddings", "POST", b"x" * BODY_BYTES)[0] == 200


def test_headers_too_large_are_a_431_in_json(edge: Edge) -> None:
    status, _, body = edge.ask("/v1/models", X_Long="x" * 20_000)
    assert (status, error_of(body)["code"]) == (431, "headers_too_large")


def test_plain_http_on_the_https_port_is_told_so(edge: Edge) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", edge.https, timeout=10)) as connection:
        connection.request("GET", "/v1/models")
        answer = connection.getresponse()
        assert (answer.status, error_of(answer.read())["code"]) == (400, "https_required")


def test_log_holds_no_query_and_no_key(edge: Edge) -> None:
    edge.ask("/logged?api_key=sk-secret-query", Authorization="Bearer sk-secret-header")
    edge.ask("/v1/embeddings?api_key=sk-secret-413", "POST", b"x" * (BODY_BYTES + 1))
    deadline = time.monotonic() + DEADLINE_S
    while '"path":"/logged"' not in edge.log() or '"status":"413"' not in edge.log():
        assert time.monotonic() < deadline, edge.log()
        time.sleep(0.02)
    line = json.loads(next(line for line in edge.log().splitlines() if '"/logged"' in line))
    assert (line["status"], line["client"], line["request_id"]) == ("200", "127.0.0.1", "req_of_the_gateway")
    assert "sk-secret" not in edge.log()


def test_gateway_away_is_a_502_in_json_with_retry_after(alone: Edge) -> None:
    status, headers, body = alone.ask("/v1/models")
    assert (status, headers["Retry-After"], headers["Content-Type"]) == (502, "5", "application/json")
    assert error_of(body)["code"] == "gateway_unreachable"
    assert headers["X-Request-Id"].startswith("req_")
    assert headers["Strict-Transport-Security"]
    assert alone.ask("/-/edge")[0] == 200


def test_hup_reloads_and_quit_drains(alone: Edge) -> None:
    """A changed file is taken up by SIGHUP under a kept connection; SIGQUIT ends nginx cleanly."""
    config = alone.home / "rendered/nginx.conf"
    with contextlib.closing(alone.connect()) as connection:
        connection.request("GET", "/-/edge")
        assert connection.getresponse().read() == b"ok\n"
        config.write_text(config.read_text().replace('return 200 "ok\\n"', 'return 200 "new\\n"'))
        alone.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + DEADLINE_S
        while alone.ask("/-/edge")[2] != b"new\n":
            assert time.monotonic() < deadline, alone.log()
            time.sleep(0.02)
    alone.process.send_signal(signal.SIGQUIT)
    assert alone.process.wait(DEADLINE_S) == 0


def test_nothing_is_written_outside_its_home(alone: Edge) -> None:
    assert {p.name for p in alone.home.iterdir()} == {"rendered", "state", "nginx.log"}
    assert {p.name for p in (alone.home / "state").iterdir()} == {
        "nginx.pid", "nginx-body", "nginx-proxy", "nginx-fastcgi", "nginx-uwsgi", "nginx-scgi",
    }  # fmt: skip
