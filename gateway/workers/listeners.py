"""The port of several workers: one listening socket each, made and kept by the parent.

With SO_REUSEPORT the kernel spreads new connections over the sockets. The parent keeps them all open: what
waits in a dead worker's queue is served by its successor.

The same option would let a second gateway of the same user listen beside us, and the kernel would send it
half of our clients. So the port is first taken without it, which fails beside any other listener; and for the
time when none of ours listens, each address is held by a name of the network namespace, which goes with us.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from gateway.net.addresses import BACKLOG, cannot_listen

LOCK_S: Final = 5.0
"""For another gateway's look at the same port."""


class Listeners:
    """The port, for this gateway alone, and a set of sockets for each of so many workers.

    Raises OSError that says what could not be listened on, and why.
    """

    def __init__(self, host: str, port: int, workers: int) -> None:
        self._addresses: list[tuple[int, Any]] = []
        self._held: list[socket.socket] = []
        self._made: list[list[socket.socket]] = []
        try:
            with _alone(port):
                self._addresses = _addresses(host, port)
                for family, address in self._addresses:
                    self._held += _held(f"{address[0]} {port}")
                    _bound(family, address, shared=False).close()
                for _ in range(workers):
                    self._made.append(self._of_one())
        except OSError as error:
            self.close()
            raise cannot_listen(host, port, error) from None

    def of_worker(self) -> list[socket.socket]:
        """One worker's sockets, listening; from now on the caller's. Raises OSError."""
        return self._made.pop() if self._made else self._of_one()

    def close(self) -> None:
        """Without the sockets of workers."""
        for each in [*self._held, *(made for worker in self._made for made in worker)]:
            each.close()

    def _of_one(self) -> list[socket.socket]:
        found = []
        for family, address in self._addresses:
            found.append(_bound(family, address, shared=True))
            found[-1].listen(BACKLOG)
        return found


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: int, address: Any, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


@contextlib.contextmanager
def _alone(port: int) -> Iterator[None]:
    """Of two gateways that start in the same moment, one looks at the port first."""
    end = time.monotonic() + LOCK_S
    while True:
        try:
            held = _held(f"{port}")
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                raise
            time.sleep(0.01)
    try:
        yield
    finally:
        for each in held:
            each.close()


def _held(name: str) -> list[socket.socket]:
    """What holds a name until it is closed or its process ends. Raises OSError: another one holds it."""
    if sys.platform != "linux":
        return []
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0infctl-gateway {name}")
    except OSError:
        lock.close()
        raise
    return [lock]
