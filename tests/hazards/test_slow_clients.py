"""Hundreds of clients that send headers or bodies or read answers slowly move nobody else's p99.

Measured against the same calls before and after them: the best turn of each counts, because a busy machine
spoils some turns of either kind.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.process import KEY, Gateway, config_for, until
from tests.gateway.raw import EVENT, EVENTS, Raw, chunk
from tests.gateway.stub import Stub

SENDERS = 200
"""Of headers, and as many of bodies."""
READERS = 40
CALLS = 150
TURNS = 3
FACTOR = 3.0
SLACK_S = 0.010
MEMORY_MB = 100
"""What the slow ones together may cost: what waits for a reader is bounded, for each of them."""
BIG = EVENT.replace(b'"x"', b'"%b"' % (b"x" * 60_000))
FLOOD = EVENTS + b"transfer-encoding: chunked\r\n\r\n" + chunk(BIG) * 130
"""More than all buffers between two processes hold."""


def request(model: str, *, stream: bool = False) -> bytes:
    asked = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": stream}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class SlowClients:
    """Of each kind, who do a little every now and then, until `stop`."""

    def __init__(self, port: int) -> None:
        self.port = port
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: "
        self.headers = [self._client(head) for _ in range(SENDERS)]
        self.bodies = [self._client(request("chat")[:-20]) for _ in range(SENDERS)]
        flood = request("flood", stream=True)
        self.readers = [self._client(flood, window_bytes=4096) for _ in range(READERS)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()

    def _client(self, data: bytes, window_bytes: int | None = None) -> socket.socket:
        made = socket.socket()
        if window_bytes is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        made.connect(("127.0.0.1", self.port))
        made.sendall(data)
        made.setblocking(False)
        return made

    def _go_on(self) -> None:
        while not self._over.wait(0.5):
            for each in self.headers:
                with contextlib.suppress(OSError):
                    each.send(b"a")
            for each in self.bodies[::20]:  # the others have nothing to say for a while
                with contextlib.suppress(OSError):
                    each.send(b" ")
            for each in self.readers:
                with contextlib.suppress(OSError):
                    each.recv(200)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        for each in (*self.headers, *self.bodies, *self.readers):
            each.close()


@pytest.fixture
def flood() -> Iterator[Raw]:
    made = Raw()
    made.answer = FLOOD
    yield made
    made.stop()


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.stop()


@pytest.fixture
def gateway(stub: Stub, flood: Raw, tmp_path: Path) -> Iterator[Gateway]:
    config = config_for(stub, timeouts={"header_s": 60.0, "body_idle_s": 60.0, "drain_s": 1.0})
    more = {"name": "flood", "served_name": "served", "tasks": ["chat"]}
    config["models"].append(more | {"backends": [{"id": "flood", "url": flood.url}]})
    started = Gateway(tmp_path, config).wait_ready(3)
    yield started
    started.stop()


def p99_s(gateway: Gateway) -> float:
    """Of CALLS calls, one after the other on one connection."""
    call, took = request("chat"), []
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock:
        for _ in range(CALLS):
            began = time.perf_counter()
            sock.sendall(call)
            answer = sock.recv(65536)
            took.append(time.perf_counter() - began)
            assert answer.startswith(b"HTTP/1.1 200 ")
    return sorted(took)[-2]


def rss_mb(gateway: Gateway) -> float:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_hundreds_of_slow_clients_move_nobody_elses_p99(gateway: Gateway, stub: Stub) -> None:
    p99_s(gateway)
    without = [p99_s(gateway) for _ in range(TURNS)]
    before = rss_mb(gateway)
    slow = SlowClients(gateway.port)
    try:
        until(lambda: gateway.backend("flood")["in_flight"] == READERS, 20)
        until(lambda: settled(gateway), 60)
        among = [p99_s(gateway) for _ in range(TURNS)]
        assert gateway.backend("flood")["in_flight"] == READERS  # they are still at it
        assert rss_mb(gateway) - before < MEMORY_MB
    finally:
        slow.stop()
    until(lambda: gateway.backend("flood")["in_flight"] == 0, 20)
    without += [p99_s(gateway) for _ in range(TURNS)]
    assert min(among) <= FACTOR * min(without) + SLACK_S, (without, among)
    until(lambda: stub.active == 0)


def settled(gateway: Gateway) -> bool:
    """All buffers are full: the gateway has nothing to do."""
    before = cpu_ticks(gateway)
    time.sleep(0.3)
    return cpu_ticks(gateway) - before <= 2


def cpu_ticks(gateway: Gateway) -> int:
    stat = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(stat[11]) + int(stat[12])
