"""The two questions asked inside containers, by a Python of their own: to a real gateway, a real server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infctl.engine.docker import rollout_drain as drains
from infctl.engine.docker.rollout_control import ENGINE_SCRIPT, GATEWAY_SCRIPT
from tests.gateway.process import ADMIN, KEY, ROOT, Gateway, config_for, until
from tests.gateway.stub import Stub

SECRETS = {"GATEWAY_API_KEY": KEY, "ADMIN_API_KEY": ADMIN, "BACKEND_API_KEY": "b"}


def ask(script: Path, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """As `docker exec` does: the script's text is an argument."""
    return subprocess.run(
        [sys.executable, "-c", script.read_text(), *argv],
        cwd=ROOT,
        env=env or {},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def stubs() -> Iterator[tuple[Stub, Stub]]:
    made = Stub("first"), Stub("second")
    yield made
    for stub in made:
        stub.stop()


@pytest.fixture
def gateway(tmp_path: Path, stubs: tuple[Stub, Stub]) -> Iterator[Gateway]:
    (tmp_path / ".env").write_text(f"GATEWAY_API_KEY={KEY}\nADMIN_API_KEY='{ADMIN}'\n")
    one = Gateway(tmp_path, config_for(*stubs) | {"env_file": ".env"}, SECRETS).wait_ready(3)
    yield one
    one.stop()


def told(gateway: Gateway, *argv: str) -> drains.Said:
    done = ask(GATEWAY_SCRIPT, str(gateway.file), *argv)
    assert done.returncode == 0, done.stderr
    return drains.read(done.stdout)


def test_a_gateway_tells_of_its_backends_and_drains_them(gateway):
    found = told(gateway, "look")
    assert found.ready == {"chat0", "chat1", "embed"}
    assert (found.drain_s, found.is_stopping) == (5.0, False)
    assert told(gateway, "drain", "chat0").drained == {"chat0"}
    assert told(gateway, "idle", "chat0", "5").drained == {"chat0"}
    assert told(gateway, "undrain", "chat0").ready == {"chat0", "chat1", "embed"}
    assert told(gateway, "open", "chat0", "5").ready == {"chat0", "chat1", "embed"}


def test_what_a_gateway_has_forgotten_is_drained_again(gateway):
    assert told(gateway, "idle", "chat0", "5").drained == {"chat0"}


def test_a_request_in_flight_is_waited_for_up_to_the_limit(gateway, stubs):
    for stub in stubs:
        stub.delay_s = 8.0
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(gateway.chat) for _ in range(2)]
        until(lambda: sum(stub.active for stub in stubs) == 2)
        told(gateway, "drain", "chat0")
        assert told(gateway, "idle", "chat0", "0.2").in_flight == 2
        found = told(gateway, "idle", "chat0", "30").backend("127.0.0.1")
        assert (found.state, found.in_flight) == ("drained", 0)
        assert {call.result().status_code for call in calls} == {200}


def test_the_admin_key_is_found_where_the_gateway_finds_it(gateway):
    (gateway.folder / ".env").write_text("GATEWAY_API_KEY=another\n")
    refused = ask(GATEWAY_SCRIPT, str(gateway.file), "look")
    assert refused.returncode == 1
    assert "401" in refused.stderr
    assert ADMIN not in refused.stderr
    assert ask(GATEWAY_SCRIPT, str(gateway.file), "look", env={"ADMIN_API_KEY": ADMIN}).returncode == 0


def test_a_file_that_is_newer_than_the_gateway_is_understood_as_far_as_it_has_to_be(gateway):
    gateway.write(gateway.config | {"later": {"than": "this"}})
    assert told(gateway, "look").ready == {"chat0", "chat1", "embed"}


def test_nobody_there_is_told_in_a_line(tmp_path, gateway):
    file = tmp_path / "other.yaml"
    file.write_text(gateway.file.read_text().replace(str(gateway.port), "1"))
    done = ask(GATEWAY_SCRIPT, str(file), "look")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the gateway does not answer" in done.stderr


class Engine(ThreadingHTTPServer):
    """Answers these paths; everything else with `otherwise`."""

    def __init__(self, paths: dict[str, int], otherwise: int = 404, key: str = "") -> None:
        self.paths, self.otherwise, self.key = paths, otherwise, key
        self.asked: list[tuple[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "served"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, body))
        if self.server.key and self.headers["authorization"] != f"Bearer {self.server.key}":
            self._send(401, {})
        else:
            self._send(self.server.paths.get(self.path, self.server.otherwise), {"error": "no such thing"})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("otherwise", [400, 404, 501])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/score"])
def test_an_engine_is_asked_what_its_model_can_answer(path, otherwise):
    engine = Engine({path: 200}, otherwise)
    done = ask(ENGINE_SCRIPT, engine.url)
    engine.shutdown()
    engine.server_close()
    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    assert engine.asked[-1][1]["model"] == "served"


def test_one_token_is_asked_for_with_the_backends_key(tmp_path):
    (tmp_path / "key").write_text("secret\n")
    engine = Engine({"/v1/completions": 200}, key="secret")
    done = ask(ENGINE_SCRIPT, engine.url, str(tmp_path / "key"))
    without = ask(ENGINE_SCRIPT, engine.url)
    engine.shutdown()
    engine.server_close()
    assert done.returncode == 0
    assert engine.asked[0][1]["max_tokens"] == 1
    assert without.returncode == 1
    assert "401" in without.stdout


def test_an_engine_that_is_well_and_answers_nothing_fails_with_its_words():
    engine = Engine({}, 500)
    done = ask(ENGINE_SCRIPT, engine.url)
    engine.shutdown()
    engine.server_close()
    assert done.returncode == 1
    assert done.stdout == '/v1/completions answered 500: {"error": "no such thing"}\n'
    assert len(engine.asked) == 1


def test_an_engine_that_is_not_there_fails_in_a_line():
    done = ask(ENGINE_SCRIPT, "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "refused" in done.stdout
    assert done.stderr == ""
