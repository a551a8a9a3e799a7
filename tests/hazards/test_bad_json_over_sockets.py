"""Bad bodies as clients send them: pipelined between good ones, and a byte at a time, to a real gateway."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import h11
import pytest

from tests.gateway.process import KEY, Gateway, config_for
from tests.gateway.stub import Stub
from tests.hazards.test_bad_json import GOOD, NOT_JSON, TWICE, WRONG_FIELDS, with_field

BAD = [body for body, _ in NOT_JSON] + TWICE + [with_field(field) for field, _ in WRONG_FIELDS]
BAD += [with_field(b'"x":' + b"[" * 100 + b"]" * 100), with_field(b'"x":' + b'{"a":' * 64 + b"1" + b"}" * 64)]
SHORT_BYTES = 300


@pytest.fixture(scope="module")
def stub() -> Iterator[Any]:
    made = Stub()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gateway(stub: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = config_for(stub, probes={"interval_s": 600.0, "loading_interval_s": 0.1})
    started = Gateway(tmp_path_factory.mktemp("gateway"), config).wait_ready(2)
    yield started
    assert started.stop() == 0


def request(body: bytes) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def answers(sock: socket.socket, count: int) -> list[tuple[int, dict[str, Any]]]:
    """So many, one after the other, from one connection."""
    reader = h11.Connection(h11.CLIENT)
    found: list[tuple[int, dict[str, Any]]] = []
    while len(found) < count:
        reader.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        reader.send(h11.EndOfMessage())
        status, body = 0, b""
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                reader.receive_data(sock.recv(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage)
                break
        found.append((status, json.loads(body)))
        reader.start_next_cycle()
    return found


def is_refusal(answer: tuple[int, dict[str, Any]]) -> bool:
    status, body = answer
    error = body["error"]
    return (
        status == 400 and error["code"] in {"invalid_request", "context_length_exceeded"} and error["message"]
    )


def test_pipelined_each_bad_body_is_a_400_and_each_good_one_between_is_served(gateway, stub) -> None:
    stub.seen.clear()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock:
        sock.sendall(b"".join(request(body) + request(GOOD) for body in BAD))
        found = answers(sock, 2 * len(BAD))
    wrong = [body[:80] for body, answer in zip(BAD, found[::2], strict=True) if not is_refusal(answer)]
    assert wrong == []
    assert {status for status, _ in found[1::2]} == {200}
    assert len(stub.seen) == len(BAD)


def test_a_byte_at_a_time_each_bad_body_is_a_400_and_the_connection_goes_on(gateway, stub) -> None:
    stub.seen.clear()
    short = [body for body in BAD if len(body) <= SHORT_BYTES]
    assert len(short) > len(BAD) - 5
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for body in (*short, GOOD):
            head, _, rest = request(body).partition(b"\r\n\r\n")
            sock.sendall(head + b"\r\n\r\n")
            for at in range(len(rest)):
                sock.sendall(rest[at : at + 1])
        found = answers(sock, len(short) + 1)
    wrong = [body[:80] for body, answer in zip(short, found[:-1], strict=True) if not is_refusal(answer)]
    assert wrong == []
    assert found[-1][0] == 200
    assert len(stub.seen) == 1
