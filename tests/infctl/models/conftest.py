"""A hub on loopback: files at paths, and answers of other kinds where a test asks for them."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

WIDTH = {"F32": 4, "BF16": 2, "F16": 2, "I8": 1, "F8_E4M3": 1}

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
}


def header_of(tensors: dict[str, tuple[str, list[int]]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * WIDTH[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    return json.dumps(entries).encode()


def safetensors(tensors: dict[str, tuple[str, list[int]]]) -> bytes:
    header = header_of(tensors)
    held = sum(math.prod(shape) * WIDTH[dtype] for dtype, shape in tensors.values())
    return len(header).to_bytes(8, "little") + header + bytes(held)


@dataclass
class FakeHub:
    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """Path, such as /org/name/resolve/main/config.json, to what lies there."""
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    """Instead of a file."""
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path, range, authorization."""

    def put(self, hub_id: str, name: str, content: bytes, revision: str = "main") -> str:
        path = f"/{hub_id}/resolve/{revision}/{name}"
        self.files[path] = content
        return path

    @property
    def names(self) -> list[str]:
        """Of the files asked for, in order."""
        return [path.rpartition("/")[2] for path, _, _ in self.asked]


def refuse(status: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def _serve(hub: FakeHub, handler: BaseHTTPRequestHandler) -> None:
    path = handler.path
    span = handler.headers.get("range")
    hub.asked.append((path, span, handler.headers.get("authorization")))
    if path in hub.answers:
        hub.answers[path](handler)
        return
    if path not in hub.files:
        refuse(404, X_Error_Code="EntryNotFound")(handler)
        return
    content = hub.files[path]
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", span or "")
    first, last = (int(found[1]), min(int(found[2]), len(content) - 1)) if found else (0, len(content) - 1)
    if first > last and content:
        refuse(416)(handler)
        return
    handler.send_response(206 if found else 200)
    if found:
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
    handler.send_header("Content-Length", str(last + 1 - first))
    handler.end_headers()
    handler.wfile.write(content[first : last + 1])


def start(hub: FakeHub) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                _serve(hub, self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def new_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], FakeHub]]:
    """As many hubs as a test needs, each with an address of its own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    servers = []

    def make() -> FakeHub:
        hub = FakeHub()
        servers.append(start(hub))
        return hub

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fake_hub(new_hub: Callable[[], FakeHub]) -> FakeHub:
    return new_hub()


@pytest.fixture
def builders() -> Any:
    """What tests make files of: they cannot import from here."""

    class Builders:
        config = CONFIG
        config_bytes = json.dumps(CONFIG).encode()
        header = staticmethod(header_of)
        checkpoint = staticmethod(safetensors)
        refuse = staticmethod(refuse)

    return Builders
