"""The ways in which a backend misbehaves, one test each: what the client gets, and what is held against whom.

tests/gateway/test_faults.py has the odd answers case by case, test_toxics.py what the network does.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.process import Gateway, config_for, until
from tests.gateway.raw import ANSWER, DONE, EVENT, EVENTS, JSON, Raw, chunk, sized
from tests.hazards.toxics import RESET

IDLE_S = 1.2
TOTAL_S = 2.5
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
MEMORY_MB = 40
"""More than this a gateway may not grow, whatever passes through it."""

Play = Callable[[socket.socket], bool | None]
"""What happens once a request has come. True: the connection is kept."""


class Scripted(Raw):
    """A backend that plays a function for each request."""

    keeps_probes = False

    def __init__(self) -> None:
        super().__init__()
        self.play: Play = says(sized(ANSWER))

    def _reply(self, connection: socket.socket) -> bool:
        return bool(self.play(connection))


def says(*pieces: bytes, every_s: float = 0.0, end: str = "close") -> Play:
    """`end`: close, reset, or hang."""

    def play(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(every_s)
        if end == "hang":
            connection.recv(1)
        if end == "reset":
            time.sleep(0.05)  # what was sent is read before the reset overtakes it
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    return play


@pytest.fixture(scope="module")
def backend() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gateway(backend: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    timeouts = {"stream_idle_s": IDLE_S, "total_s": TOTAL_S, "drain_s": 1.0}
    config = config_for(backend, timeouts=timeouts, breaker={"failures": 1000})
    started = Gateway(tmp_path_factory.mktemp("gateway"), config).wait_ready(2)
    yield started
    assert started.stop() == 0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Gateway, Scripted]]:
    """A gateway and a backend for one test, with the time-outs of the contract."""
    backend = Scripted()
    started = Gateway(tmp_path, config_for(backend)).wait_ready(2)
    yield started, backend
    started.stop()
    backend.stop()


@dataclass
class Met:
    """One call: what the client got, the log line, the breaker's count behind it."""

    status: int
    body: bytes
    line: dict[str, Any]
    failures: int

    @property
    def code(self) -> str:
        """Of the error it ends with, as JSON or as the last event; empty: it ends with none."""
        last = self.body.strip().split(b"\n\n")[-1].removeprefix(b"data: ")
        return str(json.loads(last)["error"]["code"])

    @property
    def outcome(self) -> tuple[str, str, int]:
        return self.line["outcome"], self.line["reason"], self.failures


@pytest.fixture
def meet(gateway: Gateway, backend: Scripted) -> Callable[..., Met]:
    return lambda play, *, stream=False: met_by(gateway, backend, play, stream=stream)


def met_by(gateway: Gateway, backend: Scripted, play: Play, *, stream: bool = False) -> Met:
    backend.play = says(sized(ANSWER))
    assert gateway.chat().status_code == 200  # the breaker counts from nothing
    backend.play = play
    with gateway.http.stream("POST", "/v1/chat/completions", json=asked(stream=stream)) as response:
        pieces: list[bytes] = []
        with contextlib.suppress(httpx.RemoteProtocolError):  # cut
            pieces.extend(response.iter_raw())
    line = gateway.request_line(response.headers["x-request-id"])
    until(lambda: gateway.backend("chat0")["in_flight"] == 0, 3)
    return Met(response.status_code, b"".join(pieces), line, gateway.backend("chat0")["breaker"]["failures"])


def asked(*, stream: bool) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": stream}


def streamed(*events: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return EVENTS + CHUNKED + b"".join(map(chunk, events)) + end


def test_it_refuses_the_connection(own) -> None:
    gateway, backend = own
    backend.stop()
    first, second = gateway.chat(), gateway.chat()
    assert (first.status_code, first.json()["error"]["code"]) == (502, "upstream_error")
    assert (second.status_code, second.json()["error"]["code"]) == (503, "no_healthy_backend")
    assert gateway.request_line(first.headers["x-request-id"])["reason"] == "upstream_connect"
    assert gateway.backend("chat0")["breaker"]["failures"] == 1
    assert (gateway.backend("chat0")["state"], gateway.backend("chat0")["in_flight"]) == ("down", 0)


def test_it_resets_before_its_headers(meet) -> None:
    met = meet(says(end="reset"))
    assert (met.status, met.code, met.outcome) == (
        502,
        "upstream_error",
        ("upstream_error", "upstream_head", 1),
    )


def test_it_resets_inside_its_headers(meet) -> None:
    met = meet(says(JSON[:20], end="reset"))
    assert (met.status, met.code, met.outcome) == (
        502,
        "upstream_error",
        ("upstream_error", "upstream_head", 1),
    )


def test_it_resets_in_mid_body(meet) -> None:
    met = meet(says(sized(ANSWER)[:-10], end="reset"))
    assert (met.status, met.code) == (502, "upstream_error")
    assert met.outcome == ("upstream_truncated", "upstream_error", 1)


def test_it_resets_in_mid_event(meet) -> None:
    met = meet(says(EVENTS + CHUNKED + chunk(EVENT) + chunk(EVENT[:20]), end="reset"), stream=True)
    assert (met.status, met.code) == (200, "upstream_error")
    assert met.body.startswith(EVENT + b'data: {"error"')  # of the half event nothing
    assert met.outcome == ("upstream_truncated", "upstream_error", 1)


@pytest.mark.parametrize("stream", [False, True])
def test_it_hangs_before_its_headers(meet, stream: bool) -> None:
    met = meet(says(end="hang"), stream=stream)
    assert (met.status, met.code) == (504, "upstream_timeout")
    assert met.outcome == ("upstream_timeout", "timeout_head", 1)


def test_it_hangs_between_chunks(meet) -> None:
    met = meet(says(streamed(EVENT, EVENT, end=b""), end="hang"), stream=True)
    assert (met.status, met.code) == (200, "upstream_timeout")
    assert met.body.count(EVENT) == 2
    assert met.body.count(b'"error"') == 1
    assert met.outcome == ("upstream_timeout", "timeout_body", 1)


def test_it_sends_slowly(meet) -> None:
    """Slower than nothing at all is what the time-out is for: as long as something comes, it passes."""
    whole = sized(ANSWER)
    met = meet(says(*(whole[at : at + 16] for at in range(0, len(whole), 16)), every_s=0.02))
    assert (met.status, met.body, met.outcome) == (200, ANSWER, ("ok", "", 0))
    whole = streamed(EVENT, EVENT, EVENT, DONE)
    met = meet(says(*(whole[at : at + 16] for at in range(0, len(whole), 16)), every_s=0.02), stream=True)
    assert (met.status, met.body, met.outcome) == (200, EVENT * 3 + DONE, ("ok", "", 0))


def rss_mb(gateway: Gateway) -> float:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_it_sends_100_mb(own) -> None:
    gateway, backend = own
    megabyte = b"a" * 1_000_000
    head = JSON + b'content-length: 100000012\r\n\r\n{"data":"'
    before = rss_mb(gateway)
    met = met_by(gateway, backend, says(head, *[megabyte] * 100, b'"}\n'))
    assert (met.status, len(met.body), met.outcome) == (200, 100_000_012, ("ok", "", 0))
    assert rss_mb(gateway) - before < MEMORY_MB


def test_it_sends_garbage(meet) -> None:
    met = meet(says(bytes(range(256)) * 10))
    assert (met.status, met.code, met.outcome) == (
        502,
        "upstream_error",
        ("upstream_error", "upstream_head", 1),
    )


def test_it_closes_an_idle_connection_as_the_next_request_is_written(meet, gateway: Gateway, backend) -> None:
    """Each connection is good for one answer, says otherwise, and is reset when another request comes."""
    used: set[int] = set()
    refused = 0

    def play(connection: socket.socket) -> bool:
        nonlocal refused
        if id(connection) in used:
            refused += 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return False
        used.add(id(connection))
        kept.append(connection)  # its id stays its own
        connection.sendall(sized(ANSWER))
        return True

    kept: list[socket.socket] = []
    backend.play = play
    answers = [gateway.chat() for _ in range(40)]
    assert {each.status_code for each in answers} == {200}
    assert {gateway.request_line(each.headers["x-request-id"])["outcome"] for each in answers} == {"ok"}
    assert refused >= 10  # some others met a probe in between, and were gone
    assert gateway.backend("chat0")["breaker"]["failures"] == 0


def test_it_sends_1xx_first(meet) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    met = meet(says(early + sized(ANSWER)))
    assert (met.status, met.body, met.outcome) == (200, ANSWER, ("ok", "", 0))


def test_its_content_length_is_too_large(meet) -> None:
    met = meet(says(JSON + b"content-length: %d\r\n\r\n%b" % (len(ANSWER) + 1, ANSWER)))
    assert (met.status, met.code) == (502, "upstream_error")
    assert met.outcome == ("upstream_truncated", "upstream_error", 1)


def test_its_content_length_is_too_small(meet) -> None:
    met = meet(says(JSON + b"content-length: %d\r\n\r\n%b" % (len(ANSWER) - 1, ANSWER)))
    assert (met.status, met.code, met.outcome) == (
        502,
        "upstream_error",
        ("upstream_error", "upstream_answer", 1),
    )


def test_it_sends_trailers(meet) -> None:
    whole = JSON + b"trailer: x-y\r\n" + CHUNKED + chunk(ANSWER) + b"0\r\nx-y: 1\r\nset-cookie: a=b\r\n\r\n"
    met = meet(says(whole))
    assert (met.status, met.body, met.outcome) == (200, ANSWER, ("ok", "", 0))


@pytest.mark.parametrize("stream", [False, True])
def test_it_sends_gzip(meet, stream: bool) -> None:
    head = (EVENTS if stream else JSON) + b"content-encoding: gzip\r\n"
    met = meet(says(sized(gzip.compress(EVENT + DONE if stream else ANSWER), head)), stream=stream)
    assert (met.status, met.code) == (502, "upstream_error")
    assert met.outcome == ("upstream_error", "upstream_encoding", 1)


def test_it_sends_a_huge_event(meet) -> None:
    large = EVENT.replace(b'"x"', b'"%b"' % (b"x" * 1_000_000))
    met = meet(says(streamed(EVENT, large, DONE)), stream=True)
    assert (met.body, met.outcome) == (EVENT + large + DONE, ("ok", "", 0))
    met = meet(says(streamed(EVENT, large[:-2] * 2, DONE)), stream=True)
    assert met.body.startswith(EVENT + b'data: {"error"')
    assert (met.code, met.outcome) == ("upstream_error", ("upstream_truncated", "upstream_error", 1))


def test_it_reports_an_error_in_band(meet) -> None:
    error = b'data: {"error":{"message":"out of blocks","type":"x","code":"y"}}\n\n'
    met = meet(says(streamed(EVENT, error, DONE)), stream=True)
    assert met.body == EVENT + error  # its own words, and no end that looks like success
    assert met.outcome == ("upstream_error", "error_in_stream", 1)
    met = meet(says(sized(b'{"error":{"message":"out of blocks"}}')))
    assert (met.status, met.outcome) == (502, ("upstream_error", "upstream_answer", 1))


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b""])
def test_it_ends_without_done(meet, end: bytes) -> None:
    met = meet(says(streamed(EVENT, EVENT, end=end)), stream=True)
    assert met.body.startswith(EVENT * 2 + b'data: {"error"')
    assert DONE not in met.body
    assert (met.code, met.outcome) == ("upstream_error", ("upstream_truncated", "upstream_error", 1))
