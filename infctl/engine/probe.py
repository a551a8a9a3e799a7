"""Asks a service's readiness URL, each in a short-lived thread, at most one a service at a time.

A plain socket and one request line: the standard HTTP client would cost the supervisor 5 MB of memory.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

PROBE_TIMEOUT_S = 5.0
"""Connect, send and first line together."""
REPLY_MAX_BYTES = 256


def answers_200(url: str, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
    """GET `url` (http or https, certificate unchecked: it is our own, on loopback); never raises."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    host, port = _split(authority, 443 if scheme == "https" else 80)
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as plain:
            connection: socket.socket = plain
            if scheme == "https":
                connection = _wrap(plain, host)
            with connection:
                connection.sendall(
                    f"GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode()
                )
                reply = b""
                while b"\r\n" not in reply and len(reply) < REPLY_MAX_BYTES:
                    connection.settimeout(max(0.01, deadline - time.monotonic()))
                    data = connection.recv(REPLY_MAX_BYTES)
                    if not data:
                        break
                    reply += data
    except (OSError, ValueError):
        return False
    return reply.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))


class Prober:
    """`tell(name, asked_of)` is called from a thread, once for each question that was answered 200."""

    def __init__(self, tell: Callable[[str, float], None]) -> None:
        self._tell = tell
        self._busy: set[str] = set()

    def ask(self, name: str, url: str, asked_of: float) -> None:
        """`asked_of` names the process that is meant: its start time."""
        if name in self._busy:
            return
        self._busy.add(name)
        threading.Thread(target=self._run, args=(name, url, asked_of), daemon=True).start()

    def _run(self, name: str, url: str, asked_of: float) -> None:
        try:
            good = answers_200(url)
        finally:
            self._busy.discard(name)
        if good:
            self._tell(name, asked_of)


def _split(authority: str, default: int) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):
        return authority.strip("[]"), default
    return host.strip("[]"), int(port)


def _wrap(plain: socket.socket, host: str) -> socket.socket:
    import ssl  # noqa: PLC0415 - only where the edge is asked over TLS

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)
