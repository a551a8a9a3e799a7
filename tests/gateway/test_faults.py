"""Backends at their worst: each fault has one answer of the contract's shape, and its slot is released."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.gateway.process import ADMIN, BACKEND, KEY, ROOT, config_for, until
from tests.gateway.raw import ANSWER, DONE, EVENT, EVENTS, JSON, Raw, chunk, sized

CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def raw():
    made = Raw()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shared_stub(raw):
    """What the shared gateway of this file stands in front of."""
    return raw


@pytest.fixture
def ask(raw, shared):
    """One call that meets `answer`: the client's answer, the log line, the backend's errors by it."""

    def go(answer, *, hold=False, stream=False):
        raw.answer, raw.hold = answer, hold
        before = shared.backend("chat0")["errors"]
        response = shared.chat(stream=stream)
        backend = shared.backend("chat0")
        assert backend["in_flight"] == 0
        return response, shared.request_line(response.headers["x-request-id"]), backend["errors"] - before

    return go


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param(b"", "upstream_error", id="nothing"),
        pytest.param(JSON, "upstream_error", id="half a head"),
        pytest.param(JSON + b"x: " + b"a" * 200_000 + b"\r\n\r\n", "upstream_error", id="200 KB of headers"),
        pytest.param(b"HTTP/1.1 103 E\r\n\r\n" * 100, "upstream_error", id="a storm of 103"),
        pytest.param(b"HTTP/1.1 101 S\r\nupgrade: x\r\n\r\n", "upstream_error", id="101"),
        pytest.param(JSON + b"content-length: 1\r\n" + CHUNKED, "upstream_error", id="two framings"),
        pytest.param(
            JSON + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}", "upstream_error", id="two lengths"
        ),
        pytest.param(b"\0\1 garbage\r\n\r\n", "upstream_error", id="no HTTP"),
        pytest.param(JSON + b"content-length: 5000\r\n\r\n{}", "upstream_truncated", id="length too large"),
        pytest.param(JSON + b"content-length: 5\r\n\r\n" + ANSWER, "upstream_error", id="length too small"),
        pytest.param(sized(b""), "upstream_error", id="empty 200"),
        pytest.param(sized(b"hello"), "upstream_error", id="200 that is text"),
        pytest.param(
            sized(b"<p>{}", b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n"),
            "upstream_error",
            id="200 that is HTML",
        ),
        pytest.param(
            sized(b'{"error":{"message":"m","code":500}}'), "upstream_error", id="200 that is an error"
        ),
        pytest.param(
            sized(gzip.compress(ANSWER), JSON + b"content-encoding: gzip\r\n"),
            "upstream_error",
            id="gzip not asked for",
        ),
        pytest.param(b"HTTP/1.1 204 N\r\n\r\n", "upstream_error", id="204"),
        pytest.param(
            b"HTTP/1.1 301 M\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "upstream_error", id="301"
        ),
        pytest.param(sized(b"{}", b"HTTP/1.1 401 U\r\n"), "upstream_error", id="401"),
        pytest.param(sized(b"{}", b"HTTP/1.1 403 F\r\n"), "upstream_error", id="403"),
    ],
)
def test_an_answer_that_is_none_is_a_502_and_the_backends_error(ask, answer, outcome):
    response, line, errors = ask(answer)
    assert response.status_code == 502
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["code"] == "upstream_error"
    assert (line["outcome"], line["status"], errors) == (outcome, 502, 1)


@pytest.mark.parametrize(
    ("status", "outcome", "errors"),
    [(500, "upstream_error", 1), (599, "upstream_error", 1), (422, "rejected", 0)],
)
def test_an_error_that_says_nothing_is_still_the_backends(ask, status, outcome, errors):
    response, line, counted = ask(sized(b"<h1>oops", b"HTTP/1.1 %d X\r\n" % status))
    assert response.status_code == status
    assert response.json()["error"]["code"] == "upstream_error"
    assert (line["outcome"], line["reason"], counted) == (outcome, f"upstream_{status}", errors)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sized(ANSWER) * 2, id="two replies"),
        pytest.param(b"HTTP/1.1 103 E\r\nlink: x\r\n\r\n" * 3 + sized(ANSWER), id="three 103 before it"),
        pytest.param(
            JSON + b"trailer: x\r\n" + CHUNKED + chunk(ANSWER) + b"0\r\nx: 1\r\n\r\n", id="trailers"
        ),
        pytest.param(sized(ANSWER, JSON + b"content-encoding: identity\r\n"), id="coding identity"),
    ],
)
def test_an_odd_but_honest_answer_passes(ask, answer):
    response, line, errors = ask(answer)
    assert response.json() == json.loads(ANSWER)
    assert "x" not in response.headers
    assert (line["outcome"], errors) == ("ok", 0)


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(chunk(EVENT[:20]), id="in an event"),
        pytest.param(b"100\r\ndata: {", id="in a chunk"),
        pytest.param(b"0\r\n\r\n", id="cleanly, without DONE"),
        pytest.param(b"zz\r\n", id="in nonsense"),
    ],
)
def test_a_stream_that_ends_early_ends_with_one_error_event(ask, rest):
    response, line, errors = ask(EVENTS + CHUNKED + chunk(EVENT) + rest, stream=True)
    events = response.text.strip().split("\n\n")
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "upstream_error"
    assert "[DONE]" not in response.text
    assert (line["outcome"], errors) == ("upstream_truncated", 1)


def test_a_short_answer_without_a_length_is_judged_whole(ask):
    """Chunked, or to the connection's end: still a clean 502 when it breaks, and no body is no answer."""
    for answer in (CHUNKED + chunk(ANSWER) + b"5\r\nab", CHUNKED + b"0\r\n\r\n", b"\r\n"):
        response, line, errors = ask(JSON + answer)
        assert (response.status_code, line["status"], errors) == (502, 502, 1)
    response, _, _ = ask(JSON + b"\r\n" + ANSWER)
    assert response.json() == json.loads(ANSWER)


def test_a_long_answer_without_a_length_passes(ask):
    text = b'{"data":"%b"}' % (b"a" * 3_000_000)
    response, line, _ = ask(JSON + CHUNKED + chunk(text) + b"0\r\n\r\n")
    assert (response.content, line["outcome"]) == (text, "ok")


def test_a_stream_in_gzip_is_a_502(ask):
    packed = gzip.compress(EVENT + DONE)
    response, line, _ = ask(EVENTS + b"content-encoding: gzip\r\n" + CHUNKED + chunk(packed), stream=True)
    assert response.status_code == 502
    assert line["reason"] == "upstream_encoding"


def test_a_stream_whose_end_does_not_come_behind_done_holds_the_client_no_longer(raw, shared):
    """The connection hangs behind `[DONE]`: all was said, and the slot is free a second later."""
    raw.answer, raw.hold = EVENTS + CHUNKED + chunk(EVENT) + chunk(DONE), True
    took: list[float] = []
    while not took or (took[-1] >= 0.9 and len(took) < 5):  # others may keep the cores busy
        began = time.monotonic()
        response = shared.chat(stream=True)
        took.append(time.monotonic() - began)
        assert response.text.endswith("data: [DONE]\n\n")
    assert took[-1] < 0.9, took
    until(lambda: httpx.get(f"{shared.url}/health").status_code == 200)
    until(lambda: shared.backend("chat0")["in_flight"] == 0, 3)
    assert shared.request_line(response.headers["x-request-id"])["outcome"] == "ok"


def test_a_kept_connection_that_is_just_being_closed_loses_no_request(raw, shared):
    """The request meets the FIN: nobody read it, and it is sent once more on a connection of its own."""
    raw.answer, raw.hold = sized(ANSWER), False
    statuses = [shared.chat().status_code for _ in range(200)]
    assert statuses == [200] * 200


# Not the backend's fault.


def test_too_few_connections_are_our_fault_not_the_backends(start, raw):
    raw.answer, raw.hold = b"", True
    gateway = start(config_for(raw, upstream={"connections": 2, "idle_s": 0.5})).wait_ready(2)
    until(lambda: raw.calls >= 0)
    threads = [threading.Thread(target=_ask_and_forget, args=(gateway, 8)) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: gateway.backend("chat0")["in_flight"] == 2)
    response = gateway.chat()
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "overloaded"
    assert response.headers["retry-after"] == "1"
    line = gateway.request_line(response.headers["x-request-id"])
    assert line["outcome"] == "refused"
    until(lambda: gateway.events("probe_not_sent"))
    assert gateway.backend("chat0")["state"] == "ready"
    assert gateway.backend("chat0")["errors"] == 0
    for thread in threads:
        thread.join()
    raw.answer, raw.hold = sized(ANSWER), False
    until(lambda: gateway.chat().status_code == 200)


def _ask_and_forget(gateway, seconds):
    """Again while a probe has the connection that it needs."""
    with contextlib.suppress(httpx.ReadTimeout):
        while _post(gateway, seconds) == 503:
            pass


def _post(gateway, seconds):
    return httpx.post(
        f"{gateway.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {KEY}"},
        json={"model": "chat", "messages": [{"role": "user", "content": "x"}]},
        timeout=seconds,
    ).status_code


def test_a_model_that_a_reload_takes_away_while_its_body_comes_is_a_404(start, make_stub):
    stub = make_stub()
    config = config_for(stub)
    gateway = start(config).wait_ready(2)
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:5])
        gateway.write(config | {"models": config["models"][1:]})
        gateway.signal(signal.SIGHUP)
        until(lambda: gateway.events("reloaded"))
        client.sendall(body[5:])
        client.settimeout(5)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"model_not_found" in answer


@pytest.mark.parametrize("text", ["models: 2026-02-30\n", "models: " + "[" * 3000, "\tx", "[]", "- 1"])
def test_a_file_that_no_reader_understands_is_refused_without_a_traceback(tmp_path, text):
    (tmp_path / "gateway.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "--config", str(tmp_path / "gateway.yaml")],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "GATEWAY_API_KEY": "k"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


# Who asks.


def test_a_second_forwarded_line_is_read_behind_the_first(start, make_stub):
    """A proxy may add its own line behind the one that the client made up."""
    config = config_for(make_stub(), metrics_open_to=["10.0.0.0/8"])
    gateway = start(config).wait_ready(2)
    spoofed = [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "8.8.8.8")]
    assert httpx.get(f"{gateway.url}/metrics", headers=spoofed).status_code == 401
    assert httpx.get(f"{gateway.url}/metrics", headers=spoofed[::-1]).status_code == 200
    assert httpx.get(f"{gateway.url}/metrics", headers=spoofed[:1]).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/docs/nothing", 404),
        ("GET", "/docs/assets/nothing.js", 404),
        ("GET", "/docs/assets/%2e%2e/%2e%2e/api.py", 404),
        ("POST", "/docs/assets/x", 405),
        ("POST", "/admin/backends/drain", 404),
        ("POST", "/admin/backends/nobody/drain", 404),
        ("GET", "//v1/models", 404),
        ("GET", "/v1/../metrics", 404),
    ],
)
def test_what_the_control_plane_does_not_have_has_the_openai_shape(shared, method, path, status):
    response = _raw_path(shared, method, path)
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"] in {
        "not_found",
        "method_not_allowed",
    }


def _raw_path(gateway, method, path):
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.settimeout(10)
        client.sendall(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            f"authorization: Bearer {ADMIN}\r\ncontent-length: 0\r\n\r\n".encode()
        )
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/admin/backends", "/metrics", "/health/ready"])
def test_head_is_answered_wherever_get_is(shared, path):
    headers = {"authorization": f"Bearer {ADMIN}"}
    got = httpx.get(f"{shared.url}{path}", headers=headers)
    head = httpx.head(f"{shared.url}{path}", headers=headers)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


# Signals.


def test_ctrl_c_while_starting_leaves_no_traceback(tmp_path, start, make_stub):
    """As soon as the program itself has begun: before that it is the interpreter's."""
    gateway = start(config_for(make_stub()))
    until(lambda: _ignores_hangups(gateway.process.pid))
    gateway.signal(signal.SIGINT)
    assert gateway.process.wait(10) in {0, -signal.SIGINT}
    until(lambda: not gateway._readers[1].is_alive())
    assert gateway.errors == b""


def _ignores_hangups(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = next(line for line in lines if line.startswith("SigIgn"))
    return int(ignored.split()[1], 16) & 1


def test_a_second_ctrl_c_does_not_wait_for_the_drain(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    gateway = start(config_for(stub, timeouts={"drain_s": 60})).wait_ready(2)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(gateway.chat()))
    thread.start()
    until(lambda: gateway.backend("chat0")["in_flight"] == 1)
    gateway.signal(signal.SIGINT)
    until(lambda: gateway.events("draining"))
    began = time.monotonic()
    gateway.signal(signal.SIGINT)
    assert gateway.process.wait(10) == 0
    assert time.monotonic() - began < 5
    thread.join()
    assert answers[0].json()["error"]["code"] == "draining"


def test_no_key_is_in_the_log_of_all_this(shared):
    shared.chat()
    for canary in (KEY, ADMIN, BACKEND):
        assert canary.encode() not in shared.text
