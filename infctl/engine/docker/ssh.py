"""Docker over ssh, as the docker command does it: `ssh HOST docker system dial-stdio` as the connection.

The machine's own ssh is used, so its configuration, agent and known hosts hold.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from typing import Any
from urllib.parse import urlsplit

from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool

from infctl.errors import EngineError

CONNECT_S = 20
"""Until the other machine has to have answered."""


def argv(address: str) -> list[str]:
    """`ssh://user@host:22` -> the command. Raises EngineError where it names no host."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if not host or host.startswith("-"):
        raise EngineError(f"{address} names no host", hint="write ssh://user@host")
    words = ["ssh", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "BatchMode=yes", "-T"]
    if parts.username:
        words += ["-l", parts.username]
    if parts.port:
        words += ["-p", str(parts.port)]
    return [*words, "--", host, "docker", "system", "dial-stdio"]


class _Connection(UnixHTTPConnection):  # type: ignore[misc]
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
    def _new_conn(self) -> _Connection:
        return _Connection(self.base_url, self.socket_path, self.timeout)


class Adapter(UnixHTTPAdapter):  # type: ignore[misc]
    """For `requests`: every connection through ssh."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__("/unused", timeout=timeout_s)
        self.socket_path = address

    def get_connection(self, url: str, proxies: Any = None) -> Any:
        """One pool for all addresses: each connection is a process that should be used again."""
        del url, proxies
        with self.pools.lock:
            pool = self.pools.get(self.socket_path)
            if pool is None:
                pool = _Pool("", self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[self.socket_path] = pool
        return pool


def check(address: str) -> None:
    """Once before the first connection. Raises EngineError with what ssh says."""
    if shutil.which("ssh") is None:
        raise EngineError(
            "there is no ssh here, and DOCKER_HOST asks for it", hint="install OpenSSH's client"
        )
    words = [*argv(address)[:-2], "version", "--format", "{{.Server.APIVersion}}"]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=2 * CONNECT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{address} does not answer", hint=f"try `{' '.join(words[-5:-3])}`") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise EngineError(
            f"the Docker engine at {address} cannot be reached: {said[-1] if said else 'ssh failed'}",
            hint=f"try it by hand: `ssh {urlsplit(address).netloc} docker version`",
            log=said[-5:],
        )
