"""The port of several workers: one listening socket each, made and kept by the parent.

With SO_REUSEPORT the kernel spreads new connections over the sockets. The parent keeps them all open: what
waits in a dead worker's queue is served by its successor.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.net.addresses import BACKLOG, cannot_listen

LOCK_S: Final = 5.0
"""For another gateway's look at the same port."""


@dataclass
class Listeners:
    host: str
    port: int
    addresses: list[tuple[int, Any]] = field(default_factory=list)
    """Family and address of each that the host's name stands for."""
    reserved: list[socket.socket] = field(default_factory=list)
    """Bound, never listening: the port stays ours while no worker listens."""

    def of_worker(self) -> list[socket.socket]:
        """One more worker's sockets, listening. Raises OSError."""
        found = []
        for family, address in self.addresses:
            made = _bound(family, address, shared=True)
            made.listen(BACKLOG)
            found.append(made)
        return found

    def close(self) -> None:
        for made in self.reserved:
            made.close()
        self.reserved.clear()


def reserve(host: str, port: int) -> Listeners:
    """The port, for this gateway alone. Raises OSError that says what could not be listened on, and why.

    SO_REUSEPORT would let a second gateway of the same user listen beside us, and the kernel would send it
    half of our clients. So the port is first taken without it, which fails beside any other listener.
    """
    found = Listeners(host, port)
    try:
        with _alone(port):
            found.addresses = _addresses(host, port)
            for family, address in found.addresses:
                with _bound(family, address, shared=False) as probe:
                    probe.listen(1)
                found.reserved.append(_bound(family, address, shared=True))
    except OSError as error:
        found.close()
        raise cannot_listen(host, port, error) from None
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
    """Of two gateways that start in the same moment, one looks at the port first.

    The lock is a name of the network namespace, as the port is, and goes with the process that holds it.
    """
    if sys.platform != "linux":
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        end = time.monotonic() + LOCK_S
        while True:
            try:
                lock.bind(f"\0infctl-gateway-{port}")
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                    raise
                time.sleep(0.01)
        yield
