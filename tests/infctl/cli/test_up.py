"""`infctl up` whole: the real gateway and a real nginx, before a toy that talks as vLLM does."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.cli import shapes
from infctl.engine import procfs

from .conftest import Run

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
            self.send(f"vllm:cache_config_info{{{labels}}} 1.0".encode())
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


@pytest.fixture
def folder(tmp_path: Path, run: Run, free_port: Callable[[], int]) -> Iterator[Path]:
    """A folder with a profile; whatever runs in the end is stopped, and must then be gone."""
    package = tmp_path / "toy" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for place in (package, *package.parents[:2]):
        (place / "__init__.py").touch()
    (package / "api_server.py").write_text(TOY)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "toy"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "weights").mkdir()
    write(
        tmp_path,
        {
            "name": "toy",
            "runtime": "process",
            "gpus": "cpu",
            "engines": {"python": str(python), "port_base": free_port()},
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
    yield tmp_path
    run("down")
    assert not procfs.marked(os.path.realpath(tmp_path / ".infctl" / "toy"))


def write(folder: Path, profile: dict[str, Any]) -> None:
    (folder / "infctl.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))


def read(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "infctl.yaml").read_text()))


def change(folder: Path, **model: Any) -> None:
    profile = read(folder)
    profile["models"]["chat"] |= model
    write(folder, profile)


def pids(run: Run) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in json.loads(run("status", "--json").stdout)["services"]}


def test_up_ends_with_an_answer_a_table_and_lines_to_copy(run: Run, folder: Path) -> None:
    done = run("up")
    assert done.returncode == 0, done.stderr
    assert "toy · 3 to start" in done.stdout
    assert "ok · " in done.stdout
    assert "chat: KV tokens 23,296\n" in done.stdout, "a folder without a config is not planned"
    assert "The capital of France is Paris." in done.stdout
    assert re.search(r"^chat +chat +ready", done.stdout, re.MULTILINE)
    assert "curl -s --cacert " in done.stdout
    assert "made GATEWAY_API_KEY in " in done.stderr
    assert "chat     ready" in done.stderr
    key = (folder / ".env").read_text().split("GATEWAY_API_KEY=")[1].strip()
    assert key not in done.stdout + done.stderr

    before = pids(run)
    again = run("up", "--json")
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert list(told) == list(shapes.UP)
    assert told["changes"] is False
    assert [row["actual_kv_tokens"] for row in told["measured"]] == [23_296]
    assert pids(run) == before

    change(folder, max_model_len=512)
    asked = run("up")
    assert asked.returncode == 64, "nobody can be asked, and -y was not said"
    assert "~ chat" in asked.stdout
    assert "--max-model-len 1024 -> 512" in asked.stdout
    assert pids(run) == before
    done = run("up", "-y")
    assert done.returncode == 0, done.stderr
    after = pids(run)
    assert after["chat"] != before["chat"]
    assert (after["gateway"], after["nginx"]) == (before["gateway"], before["nginx"])
    assert run("health", "--deep").returncode == 0


def test_a_model_that_cannot_load_leaves_what_ran_before(run: Run, folder: Path) -> None:
    assert run("up").returncode == 0
    rendered = {f.name: f.read_text() for f in (folder / ".infctl/toy/rendered").glob("*.*")}
    change(folder, extra_args=["--broken"], max_model_len=512)
    done = run("up", "-y")
    assert done.returncode == 5
    assert "error: chat did not start" in done.stderr
    assert "NoSuchModel" in done.stderr
    assert "what ran before runs again" in done.stderr
    assert {f.name: f.read_text() for f in (folder / ".infctl/toy/rendered").glob("*.*")} == rendered
    assert run("health", "--deep").returncode == 0


def test_a_model_that_says_nothing_undoes_a_first_up(run: Run, folder: Path) -> None:
    change(folder, extra_args=["--mute"])
    done = run("up")
    assert done.returncode == 6
    assert "chat was asked (chat) and did not answer" in done.stderr
    assert "nothing was left running" in done.stderr
    assert not procfs.marked(os.path.realpath(folder / ".infctl" / "toy"))


def test_a_hand_edited_file_is_not_overwritten_silently(run: Run, folder: Path) -> None:
    assert run("up").returncode == 0
    edited = folder / ".infctl" / "toy" / "rendered" / "nginx.conf"
    edited.write_text(edited.read_text() + "# mine\n")
    done = run("up", "-y")
    assert done.returncode == 5
    assert "edited" in done.stderr
    assert "# mine" in edited.read_text()
    assert run("up", "-y", "--overwrite-edits").returncode == 0
    assert "# mine" in edited.with_name("nginx.conf.orig").read_text()


def test_dry_run_touches_nothing(run: Run, folder: Path) -> None:
    done = run("up", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == list(shapes.UP)
    assert told["applied"] is False
    assert not (folder / ".env").exists()
    assert not list((folder / ".infctl").glob("*/rendered/*"))


def test_a_renamed_profile_is_told_of_the_platform_it_left_running(run: Run, folder: Path) -> None:
    assert run("up").returncode == 0
    profile = read(folder)
    write(folder, {**profile, "name": "other"})
    try:
        for command in (("down",), ("status",), ("up", "--dry-run")):
            done = run(*command)
            assert done.returncode == 0, done.stderr
            assert "toy runs from this folder too" in done.stderr
            assert "name: toy again, and infctl down" in done.stderr
    finally:
        write(folder, profile)
    assert "folder too" not in run("status").stderr


def test_a_certificate_that_is_not_there_is_told_before_anything_is_done(run: Run, folder: Path) -> None:
    profile = read(folder)
    profile["edge"]["tls"] = {"certificate": "no.crt", "key": "no.key"}
    write(folder, profile)
    done = run("validate")
    assert done.returncode == 0
    assert "edge/tls/certificate: " in done.stderr
    assert "no.crt cannot be read: No such file" in done.stderr
    assert run("up", "--dry-run").returncode == 3


def test_a_service_that_never_ran_is_not_called_unknown(run: Run, folder: Path) -> None:
    for command in ("logs", "restart"):
        done = run(command, "chat")
        assert done.returncode == 64
        assert "there is no service 'chat': nothing has run here yet" in done.stderr
        assert "infctl up starts" in done.stderr


def test_validate_says_where_a_missing_secret_goes(run: Run, folder: Path) -> None:
    profile = read(folder)
    del profile["secrets"]
    write(folder, profile)
    done = run("validate")
    assert done.returncode == 0
    assert "gateway/keys/shared: GATEWAY_API_KEY is not set" in done.stderr
    assert f"put it into {folder / '.env'}: GATEWAY_API_KEY=..." in done.stderr


def test_a_port_that_is_taken_is_refused_where_a_reload_would_bind_it(run: Run, folder: Path) -> None:
    assert run("up").returncode == 0
    before = read(folder)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        write(folder, {**before, "edge": {**before["edge"], "https_port": port}})
        done = run("up", "-y")
        assert done.returncode == 5
        assert f"nginx: 127.0.0.1:{port} is held by process {os.getpid()}" in done.stderr
        assert "what ran before runs again" in done.stderr
    write(folder, before)
    assert run("health", "--deep").returncode == 0
