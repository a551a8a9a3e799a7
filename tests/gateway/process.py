"""One `python -m gateway`, as tests use it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

KEY = "client-key-canary"
ADMIN = "admin-key-canary"
BACKEND = "backend-key-canary"
ROOT = Path(__file__).parents[2]


def until(found: Callable[[], Any], limit_s: float = 10.0) -> Any:
    """Polls for an event; what it found."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.01)
    raise AssertionError(f"not within {limit_s} s: {found}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    """One `python -m gateway`."""

    def __init__(self, folder: Path, config: dict[str, Any], env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = config.setdefault("listen", {}).setdefault("port", free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.file = folder / "gateway.yaml"
        self.config = config
        self.write(config)
        keys = {"GATEWAY_API_KEY": KEY, "ADMIN_API_KEY": ADMIN, "BACKEND_API_KEY": BACKEND}
        passed = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--config", str(self.file)],
            cwd=ROOT,
            env=passed | (keys if env is None else env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: list[dict[str, Any]] = []
        self._text: list[bytes] = []
        self.errors = b""
        self._readers = [threading.Thread(target=self._read_log), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()
        self.http = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=20, trust_env=False
        )

    @property
    def text(self) -> bytes:
        """All that was logged so far."""
        return b"".join(self._text)

    def write(self, config: dict[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump(config))

    def chat(self, **fields: Any) -> httpx.Response:
        body = {"model": "chat", "messages": [{"role": "user", "content": "capital of France?"}]} | fields
        return self.http.post("/v1/chat/completions", json=body)

    def detailed(self) -> dict[str, Any]:
        document: dict[str, Any] = self.http.get("/health/detailed").json()
        return document

    def backend(self, backend_id: str) -> dict[str, Any]:
        return next(each for each in self.detailed()["backends"] if each["id"] == backend_id)

    def admin(self, method: str, path: str) -> httpx.Response:
        return self.http.request(method, path, headers={"authorization": f"Bearer {ADMIN}"})

    def wait_ready(self, backends: int) -> Gateway:
        """Until so many backends take requests."""

        def there() -> bool:
            assert self.process.poll() is None, (self.text, self.errors)
            return sum(line["event"] == "backend_ready" for line in self.lines) >= backends

        until(there)
        return self

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]

    def request_line(self, request_id: str) -> dict[str, Any]:
        """The log line of one request."""
        found: dict[str, Any] = until(
            lambda: next((line for line in self.lines if line.get("request_id") == request_id), None), 5
        )
        return found

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def stop(self) -> int:
        self.http.close()
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        code = self.process.wait(20)
        for reader in self._readers:
            reader.join(5)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        assert code != 0 or self.errors == b"", self.errors.decode()
        return code

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._text.append(line)
            self.lines.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()


def config_for(*stubs: Any, **extra: Any) -> dict[str, Any]:
    """Chat on all stubs; embed on the first."""
    return {
        "models": [
            {
                "name": "chat",
                "served_name": "served",
                "aliases": ["qwen", "text2sql"],
                "tasks": ["chat", "text2sql"],
                "max_model_len": 2048,
                "backends": [{"id": f"chat{n}", "url": stub.url} for n, stub in enumerate(stubs)],
            },
            {
                "name": "embed",
                "served_name": "embed",
                "tasks": ["embed", "rerank"],
                "backends": [{"id": "embed", "url": stubs[0].url}],
            },
        ],
        "probes": {"interval_s": 0.3, "loading_interval_s": 0.1, "timeout_s": 2.0},
        "timeouts": {"drain_s": 5.0},
        "cache_salt": "shared",  # what a test sends is what a stub sees
    } | extra
