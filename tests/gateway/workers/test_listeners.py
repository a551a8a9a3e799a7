"""The port of several workers: real sockets on loopback."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.workers.listeners import Listeners
from tests.gateway.process import free_port


def test_a_second_gateway_is_refused_while_workers_listen_and_while_none_does() -> None:
    port = free_port()
    first = Listeners("127.0.0.1", port, 1)
    listening = first.of_worker()
    refused = f"cannot listen on [0-9.]+:{port}: the address is in use by another program"
    try:
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(OSError, match=refused) as why:
                Listeners(host, port, 2)
            assert why.value.errno == errno.EADDRINUSE
        listening.pop().close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with pytest.raises(OSError, match=refused):
            Listeners("127.0.0.1", port, 2)
    finally:
        first.close()
    Listeners("127.0.0.1", port, 2).close()


def test_a_gateway_beside_one_without_workers_is_refused_and_their_old_connections_do_not_matter() -> None:
    with socket.create_server(("127.0.0.1", 0)) as alone:
        port = alone.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            Listeners("127.0.0.1", port, 2)
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = alone.accept()
        accepted.close()  # first: its end is the one in TIME_WAIT
        assert client.recv(1) == b""
        client.close()
    Listeners("127.0.0.1", port, 2).close()


def test_each_worker_has_a_socket_of_its_own() -> None:
    port = free_port()
    found = Listeners("127.0.0.1", port, 3)
    workers = [found.of_worker() for _ in range(4)]  # one more than at the start
    for _ in range(20):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    taken = []
    for worker in workers:
        with contextlib.suppress(BlockingIOError):
            while True:
                taken.append(worker[0].accept()[0])
    assert len(taken) == 20
    for each in [found, *taken, *(made for worker in workers for made in worker)]:
        each.close()


def test_of_gateways_that_start_in_the_same_moment_one_gets_the_port() -> None:
    port, at_once = free_port(), threading.Barrier(6)

    def start(_: int) -> Listeners | None:
        at_once.wait()
        try:
            return Listeners("127.0.0.1", port, 1)
        except OSError:
            return None

    with ThreadPoolExecutor(6) as pool:
        found = [each for each in pool.map(start, range(6)) if each is not None]
    for each in found:
        each.close()
    assert len(found) == 1


def test_a_name_with_several_addresses_is_listened_on_at_each() -> None:
    if not socket.has_ipv6 or len({row[4][0] for row in socket.getaddrinfo("localhost", 1)}) < 2:
        return  # this machine's localhost is one address
    port = free_port()
    found = Listeners("localhost", port, 1)
    made = found.of_worker()
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, port), timeout=5).close()
    for each in [found, *made]:
        each.close()
