"""How requests reach an engine: over its socket, or over ssh as the docker command does it.

Connections are used again whatever is asked: the SDK would open one for each address it asks. Over ssh
(`ssh HOST docker system dial-stdio`) the machine's own ssh is used, so its configuration, agent and known
hosts hold.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from typing import Any

from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool

from infctl.engine.docker.ssh import argv

KEPT_MAX = 32
"""Connections kept open."""


class _Local(UnixHTTPConnection):  # type: ignore[misc]
    def connect(self) -> None:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.settimeout(self.timeout)
            link.connect(self.unix_socket)
        except BaseException:
            link.close()
            raise
        self.sock = link


class _Ssh(UnixHTTPConnection):  # type: ignore[misc]
    """One ssh process; its two ends are one socket."""

    _process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # A process group of its own: Ctrl-C is for us, and we still have things to put right then.
            self._process = subprocess.Popen(
                argv(self.unix_socket),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.settimeout(self.timeout)
        self.sock = ours

    def close(self) -> None:
        super().close()
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.terminate()
            self._process.wait()
            self._process = None


class _Pool(UnixHTTPConnectionPool):  # type: ignore[misc]
    def __init__(self, kind: type[UnixHTTPConnection], path: str, timeout_s: float) -> None:
        super().__init__("", path, timeout_s, maxsize=KEPT_MAX)
        self._kind = kind

    def _new_conn(self) -> Any:
        return self._kind(self.base_url, self.socket_path, self.timeout)


class Adapter(UnixHTTPAdapter):  # type: ignore[misc]
    """For `requests`. `address`: unix:///path, or ssh://user@host."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__("/unused", timeout=timeout_s)
        local = address.startswith("unix://")
        path = "/" + address.removeprefix("unix://").lstrip("/") if local else address
        self._pool = _Pool(_Local if local else _Ssh, path, timeout_s)

    def get_connection(self, url: str, proxies: Any = None) -> Any:
        del url, proxies
        return self._pool

    def close(self) -> None:
        super().close()
        self._pool.close()
