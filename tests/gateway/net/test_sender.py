"""Bytes leave at once, all of them, in order, and never to whoever has the file's number next."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from gateway.net.sender import Sender


class Transport:
    """What `Sender` asks of one."""

    def __init__(self, file: socket.socket) -> None:
        self.file = file
        self.written = b""
        self.closing = False

    def get_extra_info(self, name: str) -> Any:
        return self.file if name == "socket" else None

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def sender_of(transport: Transport) -> Sender:
    return Sender(cast("Any", transport))


def test_bytes_leave_at_once(ends) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    sender_of(transport)(b"hello")
    assert theirs.recv(100) == b"hello"
    assert transport.written == b""


def test_what_the_socket_does_not_take_is_left_to_the_transport_in_order(ends) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    send = sender_of(transport)
    data = bytes(range(256)) * 8192
    send(data)
    send(b"behind")
    taken = len(data) + len(b"behind") - len(transport.written)
    assert 0 < taken < len(data)
    came = b""
    while len(came) < taken:
        came += theirs.recv(1 << 20)
    assert came + transport.written == data + b"behind"


def test_what_waits_in_the_transport_is_not_overtaken(ends) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    transport.written = b"first "
    sender_of(transport)(b"second")
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(100)
    assert transport.written == b"first second"


def test_a_broken_socket_is_left_to_the_transport_to_tell(ends) -> None:
    ours, theirs = ends
    theirs.close()
    transport = Transport(ours)
    sender_of(transport)(b"hello")
    assert transport.written == b"hello"


def test_nothing_is_written_to_a_file_that_is_being_closed(ends) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    send = sender_of(transport)
    transport.closing = True
    send(b"one")
    transport.closing, transport.written = False, b""
    send.close()
    send(b"two")
    assert transport.written == b"two"
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(100)


def test_a_transport_without_a_socket_is_written_to(ends) -> None:
    transport = Transport(cast("Any", None))
    sender_of(transport)(b"hello")
    assert transport.written == b"hello"
