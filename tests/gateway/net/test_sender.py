"""Bytes leave at once, all of them, in order, and never to whoever has the file's number next."""

from __future__ import annotations

import contextlib
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

    def get_extra_info(self, name: str) -> Any:
        return self.file if name == "socket" else None

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def sender_of(transport: Transport) -> Sender:
    sender = Sender()
    sender.opened(cast("Any", transport))
    return sender


def test_bytes_leave_at_once(ends) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    sender_of(transport).write(b"hello")
    assert theirs.recv(100) == b"hello"
    assert transport.written == b""


def test_what_the_socket_does_not_take_is_left_to_the_transport_in_order(ends) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    sender = sender_of(transport)
    data = bytes(range(256)) * 8192
    sender.write(data)
    sender.write(b"behind")
    taken = len(data) + len(b"behind") - len(transport.written)
    assert 0 < taken < len(data)
    came = b""
    while len(came) < taken:
        came += theirs.recv(1 << 20)
    assert came + transport.written == data + b"behind"


def test_what_waits_in_the_transport_is_not_overtaken_and_what_comes_later_leaves_at_once_again(ends) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    sender = sender_of(transport)
    sender.write(bytes(1 << 22))
    theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while theirs.recv(1 << 20):
            pass
    transport.written = b"first "
    sender.write(b"second")
    with pytest.raises(BlockingIOError):
        theirs.recv(100)
    assert transport.written == b"first second"
    transport.written = b""
    sender.write(b"third")
    assert (theirs.recv(100), transport.written) == (b"third", b"")


def test_a_broken_socket_is_left_to_the_transport_to_tell(ends) -> None:
    ours, theirs = ends
    theirs.close()
    transport = Transport(ours)
    sender_of(transport).write(b"hello")
    assert transport.written == b"hello"


def test_nothing_is_written_to_a_file_that_is_being_closed(ends) -> None:
    ours, theirs = ends
    transport = Transport(ours)
    sender = sender_of(transport)
    sender.shut()
    sender.write(b"hello")
    assert transport.written == b"hello"
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(100)


def test_a_transport_without_a_socket_is_written_to(ends) -> None:
    transport = Transport(cast("Any", None))
    sender_of(transport).write(b"hello")
    assert transport.written == b"hello"
