"""A gateway that says what a test tells it to, on a real loopback port."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.cli import app
from infctl.engine import procfs

from . import toy

KEY = "test-key"
Run = Callable[..., subprocess.CompletedProcess[str]]


def backend(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "model": name,
        "url": "http://127.0.0.1:8101",
        "state": "ready",
        "in_flight": 1,
        "requests": 1234,
        "errors": 0,
        "last_probe_s_ago": 2.5,
        "why": "",
    } | changes


def detailed(**changes: Any) -> dict[str, Any]:
    return {
        "status": "ok",
        "version": "0.1.0",
        "uptime_s": 12.5,
        "draining": False,
        "warnings": [],
        "models": [
            {
                "name": "chat",
                "aliases": [],
                "tasks": ["chat", "text2sql"],
                "healthy": True,
                "max_model_len": 2048,
            },
            {
                "name": "embed",
                "aliases": [],
                "tasks": ["embed", "rerank"],
                "healthy": True,
                "max_model_len": 256,
            },
        ],
        "backends": [backend("chat"), backend("embed", url="http://127.0.0.1:8102")],
    } | changes


def chat_reply(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


EMBEDDINGS = {
    "data": [
        {"index": 0, "embedding": [1.0, 0.0]},
        {"index": 1, "embedding": [0.9, 0.1]},
        {"index": 2, "embedding": [0.0, 1.0]},
    ]
}
METRICS = b"""\
infctl_store_up 1.0
infctl_store_waiting 0.0
infctl_config_info{audit="off",balancing="least_in_flight",cache="off",store="sqlite"} 1.0
infctl_disk_bytes{kind="store"} 1e12
infctl_disk_free_bytes{kind="store"} 5e11
"""
RERANKED = {"results": [{"index": 1, "relevance_score": 0.85}, {"index": 0, "relevance_score": 0.24}]}


@dataclass
class Gateway:
    """`answers[path]` is (status, JSON value or raw bytes), or a function that takes over the connection."""

    port: int = 0
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    """(method, path, body) of every request."""
    check_key: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def well(self) -> None:
        """Answer everything as a healthy gateway would."""
        self.answers.update(
            {
                "/health": (200, {"status": "ok"}),
                "/health/detailed": (200, detailed()),
                "/v1/chat/completions": (200, chat_reply("The capital of France is Paris.")),
                "/v1/text2sql": (200, chat_reply("SELECT id, name FROM users;")),
                "/v1/embeddings": (200, EMBEDDINGS),
                "/v1/rerank": (200, RERANKED),
                "/metrics": (200, METRICS),
                "/admin/quotas?limit=1": (200, {"quotas": [], "next": None, "as_of": time.time()}),
            }
        )


def _handler(gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._any()

        def do_POST(self) -> None:
            self._any()

        def log_message(self, *_: Any) -> None:
            pass

        def _any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            gateway.asked.append((self.command, self.path, body))
            answer = gateway.answers.get(self.path, (404, {"error": {"message": "no such path"}}))
            if isinstance(answer, Callable):  # type: ignore[arg-type]
                answer(self)
                return
            code, value = answer
            open_path = self.path == "/health"
            if gateway.check_key and not open_path and self.headers.get("authorization") != f"Bearer {KEY}":
                code, value = 401, {"error": {"message": "no such key", "code": "invalid_api_key"}}
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    return Handler


@contextlib.contextmanager
def serving(told: Gateway, port: int = 0) -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(told))
    server.daemon_threads = True
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving(Gateway()) as told:
        yield told


@pytest.fixture
def engines(free_port: Callable[[], int]) -> Iterator[tuple[Gateway, Gateway]]:
    """Two engines' pages, on ports in a row."""
    first = toy.neighbours(free_port, 2)
    page = {"/metrics": (200, b"vllm:num_requests_running 0.0\n")}
    with (
        serving(Gateway(check_key=False, answers=dict(page)), first) as one,
        serving(Gateway(check_key=False, answers=dict(page)), first + 1) as other,
    ):
        yield one, other


def write_profile(folder: Path, gateway: Gateway, engines: tuple[Gateway, Gateway]) -> None:
    """One whose gateway and engines are where the fake ones listen."""
    profile = {
        "name": "served",
        "runtime": "process",
        "gpus": "cpu",
        "models": {name: {"source": {"path": name}, "task": name} for name in ("chat", "embed")},
        "engines": {"port_base": engines[0].port},
        "gateway": {"listen": {"port": gateway.port}},
        "edge": {"enabled": False},
        "monitoring": {"enabled": False},
    }
    for model in ("chat", "embed"):
        (folder / model).mkdir()
    (folder / "infctl.yaml").write_text(yaml.safe_dump(profile))
    (folder / ".env").write_text(f"GATEWAY_API_KEY={KEY}\n")


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            return int(taken.getsockname()[1])

    return find


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No colour, no settings of whoever runs the tests, reports in a folder that goes away."""
    for name in ("FORCE_COLOR", "COLUMNS", "INFCTL_PROFILE", "INFCTL_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GATEWAY_API_KEY", "ADMIN_API_KEY", "BACKEND_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process and folder, without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = app.run(args)
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(["infctl", *args], code, out, err)

    return call


@pytest.fixture
def folder(tmp_path: Path, run: Run, free_port: Callable[[], int]) -> Iterator[Path]:
    """A folder with the profile of `toy`; whatever runs in the end is stopped, and must then be gone."""
    toy.make(tmp_path, free_port)
    yield tmp_path
    run("down")
    assert not procfs.marked(os.path.realpath(tmp_path / ".infctl" / "toy"))
