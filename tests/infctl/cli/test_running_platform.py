"""status, logs, restart and down of a platform that really runs (tiny servers in the models' place)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infctl.cli import shapes
from infctl.engine import procfs
from infctl.engine.process import ProcessEngine
from infctl.stack import Layout, Readiness, Service, Stack

from .conftest import KEY, Gateway, Run, backend, detailed

CODE = """
import http.server, sys
print("2026-03-04T12:00:0%s hello from %s" % (sys.argv[3], sys.argv[2]), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture
def platform(tmp_path: Path, gateway: Gateway, free_port: Callable[[], int]) -> Iterator[ProcessEngine]:
    """Two engines that run, and a gateway that says what it is told."""
    profile = {
        "name": "tiny",
        "runtime": "process",
        "gpus": "cpu",
        "models": {name: {"source": {"path": name}, "task": "chat"} for name in ("chat", "other")},
        "edge": {"enabled": False},
        "monitoring": {"enabled": False},
    }
    (tmp_path / "infctl.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / ".env").write_text(f"GATEWAY_API_KEY={KEY}\n")
    services = []
    backends = []
    for number, name in enumerate(("chat", "other"), start=1):
        port = free_port()
        services.append(
            Service(
                name=name,
                role="engine",
                argv=(sys.executable, "-c", CODE, str(port), name, str(number)),
                ready=Readiness(f"http://127.0.0.1:{port}/", 30),
                listen=(("127.0.0.1", port),),
                models=(name,),
                stop_timeout_s=5,
            )
        )
        backends.append(backend(name, url=f"http://127.0.0.1:{port}", requests=number))
    gateway.well()
    gateway.answers["/health/detailed"] = (200, detailed(backends=backends))
    front = Service(
        name="gateway",
        role="gateway",
        argv=(sys.executable, "-c", "import time; time.sleep(600)"),
        listen=(("127.0.0.1", gateway.port),),
        stop_timeout_s=5,
    )
    engine = ProcessEngine(Layout(tmp_path, tmp_path / ".infctl" / "tiny"))
    # The fake gateway holds the port already, so its service is added without a claim to it.
    claimless = Stack("tiny", "process", (*services, _without_port(front)))
    with engine.lock("test"):
        list(engine.apply(claimless, {}))
    _claim(engine, gateway.port)
    yield engine
    list(engine.down())


def _without_port(service: Service) -> Service:
    from dataclasses import replace

    return replace(service, listen=())


def _claim(engine: ProcessEngine, port: int) -> None:
    """Say in the engine's book where the gateway is reached."""
    book = engine.layout.state / "desired.json"
    data = json.loads(book.read_text())
    data["stack"]["services"][2]["listen"] = [["127.0.0.1", port]]
    book.write_text(json.dumps(data))


def rows(run: Run) -> dict[str, dict[str, Any]]:
    done = run("status", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == list(shapes.STATUS)
    return {row["name"]: row for row in told["services"]}


def test_status_shows_processes_memory_and_the_gateways_counts(run: Run, platform: ProcessEngine) -> None:
    found = rows(run)
    assert {name: row["state"] for name, row in found.items()} == {
        "chat": "ready",
        "other": "ready",
        "gateway": "ready",
    }
    assert (found["chat"]["requests"], found["other"]["requests"]) == (1, 2)
    assert found["chat"]["pid"] in procfs.marked(os.path.realpath(platform.layout.home))
    assert found["chat"]["memory_bytes"] > 1_000_000
    told = json.loads(run("status", "--json").stdout)
    assert told["supervisor"]["state"] == "ready"
    assert (
        procfs.marked(os.path.realpath(platform.layout.home))[told["supervisor"]["pid"]] == procfs.SUPERVISOR
    )
    text = run("status").stdout
    assert text.startswith("tiny · 3 of 3 ready")


def test_logs_are_interleaved_by_time_with_names(run: Run, platform: ProcessEngine) -> None:
    done = run("logs", "chat", "other")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "hello" in line]
    assert lines == [
        "chat  | 2026-03-04T12:00:01 hello from chat",
        "other | 2026-03-04T12:00:02 hello from other",
    ]
    told = [json.loads(line) for line in run("logs", "other", "--json", "--tail", "all").stdout.splitlines()]
    assert all(list(one) == list(shapes.LOGS) for one in told)
    assert told[0]["line"].endswith("hello from other")


def test_follow_shows_what_is_written_from_now_on(platform: ProcessEngine, tmp_path: Path) -> None:
    argv = [sys.executable, "-u", "-m", "infctl", "logs", "-f", "other", "--tail", "0"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        try:
            log = platform.layout.logs / "other.log"
            # It says nothing when it has begun to look, so lines come until one is seen.
            os.set_blocking(follower.stdout.fileno(), False)
            seen = b""
            while b"fresh" not in seen:
                with log.open("a") as out:
                    out.write("a fresh line\n")
                assert follower.poll() is None
                try:
                    follower.wait(0.1)
                except subprocess.TimeoutExpired:
                    seen += follower.stdout.read() or b""
        finally:
            follower.send_signal(2)
    assert b"other | a fresh line" in seen
    assert follower.returncode == 0, "Ctrl-C ends it as it should end"


def test_restart_replaces_just_what_is_named(run: Run, platform: ProcessEngine) -> None:
    before = rows(run)
    done = run("restart", "chat")
    assert (done.returncode, done.stdout) == (0, "restarted chat\n"), done.stderr
    after = rows(run)
    assert after["chat"]["pid"] != before["chat"]["pid"]
    assert after["other"]["pid"] == before["other"]["pid"]
    assert after["chat"]["restarts"] == 0, "what a person asks for is no crash"


def test_down_leaves_logs_and_nothing_that_runs(run: Run, platform: ProcessEngine) -> None:
    done = run("down", "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["stopped"]) == ["chat", "gateway", "other"]
    assert not procfs.marked(os.path.realpath(platform.layout.home))
    assert "hello from chat" in run("logs", "chat").stdout
    assert run("down").stdout == "nothing ran\n"
