"""Pages asked here, and by the module's own source as another Python runs it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infctl.cli import fetch

from .conftest import KEY, Gateway

HEADERS = {"authorization": f"Bearer {KEY}"}


def here(job: dict[str, Any]) -> dict[str, Any]:
    return fetch.rounds(job)


def elsewhere(job: dict[str, Any]) -> dict[str, Any]:
    """As inside a container: nothing but the source and a Python."""
    argv = [sys.executable, "-I", "-S", "-c", Path(fetch.__file__).read_text("utf-8")]
    done = subprocess.run(argv, input=json.dumps(job), capture_output=True, text=True, check=True, cwd="/")
    return dict(json.loads(done.stdout))


@pytest.fixture(params=[here, elsewhere])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_pages_are_asked_with_their_headers_and_bodies(ask: Any, gateway: Gateway) -> None:
    gateway.well()
    body = json.dumps({"model": "chat"})
    asks = [
        {"name": "health", "url": f"{gateway.url}/health"},
        {"name": "no key", "url": f"{gateway.url}/health/detailed"},
        {
            "name": "chat",
            "url": f"{gateway.url}/v1/chat/completions",
            "method": "POST",
            "headers": HEADERS,
            "body": body,
        },
    ]
    (answers,) = ask({"asks": asks})["rounds"]
    assert [answers[name]["status"] for name in ("health", "no key", "chat")] == [200, 401, 200]
    assert "Paris" in answers["chat"]["body"]
    assert ("POST", "/v1/chat/completions", {"model": "chat"}) in gateway.asked


def test_each_address_of_a_name_is_asked(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.well()
    port = gateway.port

    def looked_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host != "gateways":
            raise socket.gaierror("no such name")
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1", "127.0.0.1")]

    monkeypatch.setattr(fetch.socket, "getaddrinfo", looked_up)
    asks = [
        {"name": "gateway", "url": f"{gateway.url}/health", "every": "gateways"},
        {"name": "alone", "url": f"{gateway.url}/health", "every": "nobody"},
    ]
    expanded = [one for ask in asks for one in fetch._each(ask)]
    assert [(one["name"], one["url"]) for one in expanded] == [
        ("gateway", f"http://127.0.0.1:{port}/health"),
        ("gateway#2", f"http://127.0.0.2:{port}/health"),
        ("alone", f"http://127.0.0.1:{port}/health"),
    ]


def test_a_server_that_is_not_there_is_told_as_such(ask: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        (answers,) = ask({"asks": [{"name": "x", "url": url}]})["rounds"]
    assert answers["x"]["error"] == "connect"
    assert "refused" in answers["x"]["why"].lower()


def test_a_server_that_says_nothing_is_not_waited_for(ask: Any) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
        (answers,) = ask({"asks": [{"name": "x", "url": url, "timeout_s": 0.2}]})["rounds"]
    assert answers["x"]["error"] == "timeout"


def test_only_the_lines_that_matter_come_back_and_rounds_are_timed(ask: Any, gateway: Gateway) -> None:
    gateway.answers["/metrics"] = (200, b"# HELP\nvllm:a 1\npython_gc 2\nvllm:b 3\n")
    gateway.check_key = False
    told = ask(
        {
            "asks": [{"name": "x", "url": f"{gateway.url}/metrics"}],
            "rounds": 2,
            "gap_s": 0.05,
            "keep": "vllm:",
        }
    )
    assert [one["x"]["body"] for one in told["rounds"]] == ["vllm:a 1\nvllm:b 3"] * 2
    assert told["at"][1] - told["at"][0] >= 0.05
