"""A real redis-server of our own: on a socket in a folder, append-only, ended with the test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            pytest.skip("redis-server is missing: apt-get install redis-server")
        words = {
            "port": "0", "unixsocket": str(self.socket), "dir": str(self.folder), "appendonly": "yes",
            "appendfsync": "everysec", "save": "", "daemonize": "no",
        }  # fmt: skip
        argv = [word for name, value in words.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [program, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self._ping():
                return
            time.sleep(0.02)
        raise AssertionError("redis-server did not answer within 30 s")

    def _ping(self) -> bool:
        import redis

        try:
            with redis.Redis.from_url(self.url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def drop_clients(self, path: Path) -> None:
        """Cuts the connections that are open; `path`: where its socket is now."""
        import redis

        with redis.Redis.from_url(f"unix://{path}", socket_timeout=2) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")

    def forget(self) -> None:
        """Restarted empty."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        self.start()
