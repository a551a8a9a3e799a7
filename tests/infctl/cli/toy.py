"""A platform that starts in a second: the real gateway and nginx, and a toy that talks as vLLM does."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

TOY = """
import argparse, http.server, json, sys

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--model")
known, rest = parser.parse_known_args()
if "--broken" in rest:
    sys.exit("ValueError: Model architectures ['NoSuchModel'] are not supported for now.")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/metrics":
            labels = 'num_gpu_blocks="182",block_size="128",kv_cache_size_tokens="23296"'
            self.send(f"vllm:cache_config_info{{{labels}}} 1.0\\nvllm:num_requests_running 0.0\\n".encode())
        else:
            self.answer({"version": "0.32.0"})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        text = "I will not say." if "--mute" in rest else "The capital of France is Paris."
        message = {"role": "assistant", "content": "" if "--mute" in rest else text}
        self.answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def answer(self, value):
        self.send(json.dumps(value).encode())

    def send(self, raw):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


http.server.ThreadingHTTPServer(("127.0.0.1", known.port), Handler).serve_forever()
"""


def neighbours(free_port: Callable[[], int], count: int = 3) -> int:
    """The first of `count` free ports in a row: for replicas that come later."""
    for _ in range(100):
        first = free_port()
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError(f"no {count} free ports in a row")


def make(folder: Path, free_port: Callable[[], int]) -> None:
    """Its profile and its vLLM, in `folder`."""
    package = folder / "toy" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for place in (package, *package.parents[:2]):
        (place / "__init__.py").touch()
    (package / "api_server.py").write_text(TOY)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "toy"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / "weights").mkdir()
    write(
        folder,
        {
            "name": "toy",
            "runtime": "process",
            "gpus": "cpu",
            "engines": {"python": str(python), "port_base": neighbours(free_port)},
            "models": {"chat": {"source": {"path": "weights"}, "task": "chat", "max_model_len": 1024}},
            "gateway": {
                "listen": {"port": free_port()},
                "keys": {"shared": "${GATEWAY_API_KEY}"},
                "timeouts": {"drain": "2s"},
            },
            "edge": {"bind": "127.0.0.1", "https_port": free_port(), "http_port": free_port()},
            "monitoring": {"enabled": False},
            "secrets": {"GATEWAY_API_KEY": {"generate": True}},
        },
    )


def write(folder: Path, profile: dict[str, Any]) -> None:
    (folder / "infctl.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))


def read(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "infctl.yaml").read_text()))


def change(folder: Path, **model: Any) -> None:
    profile = read(folder)
    profile["models"]["chat"] |= model
    write(folder, profile)


def pids(run: Callable[..., Any]) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in json.loads(run("status", "--json").stdout)["services"]}
