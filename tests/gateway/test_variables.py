"""The reference platform's variables in .env: each one at work in a running gateway, and who wins over whom.

One gateway for all tests here: each writes its own .env and configuration, and has them read by SIGHUP.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.environment import VARIABLES
from tests.gateway.process import KEY, Gateway, config_for, until
from tests.gateway.stub import Stub

Set = Callable[..., Gateway]

QUIET = {"interval_s": 60.0, "loading_interval_s": 0.1, "timeout_s": 2.0}
"""No probe takes a connection while a test counts them."""


@pytest.fixture(scope="module")
def running(shared_stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("variables")
    gateway = Gateway(folder, config_for(shared_stub, env_file=".env", probes=QUIET)).wait_ready(2)
    yield gateway
    assert gateway.stop() == 0
    assert gateway.errors == b""


@pytest.fixture
def setting(running: Gateway, stub: Stub) -> Iterator[Set]:
    """The gateway with these variables in .env, and these sections in its file."""

    def put(variables: dict[str, str], **sections: Any) -> Gateway:
        config = config_for(stub, env_file=".env", probes=QUIET, listen={"port": running.port}, **sections)
        config["models"][0]["backends"][0]["concurrency"] = 1 if "queue" in sections else 100
        running.write(config)
        text = "".join(f"{name}={value}\n" for name, value in variables.items())
        (running.folder / ".env").write_text(text)
        before = reloads(running)
        running.signal(signal.SIGHUP)
        until(lambda: reloads(running) > before)
        return running

    def reloads(gateway: Gateway) -> int:
        return len(gateway.events("reloaded")) + len(gateway.events("reload_refused"))

    yield put
    put({})


def embed(gateway: Gateway, text: str) -> str | None:
    """x-cache."""
    reply = gateway.http.post("/v1/embeddings", json={"model": "embed", "input": text})
    assert reply.status_code == 200, reply.text
    return reply.headers.get("x-cache")


def took_s(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_a_request_takes_no_longer_than_max_request_secs(setting: Set, stub: Stub) -> None:
    gateway = setting({"MAX_REQUEST_SECS": "0.5"})
    stub.mode = "hang"
    reply, passed_s = took_s(gateway.chat)
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")
    assert 0.4 < passed_s < 10


def test_a_stream_stands_still_no_longer_than_stream_idle_timeout_secs(setting: Set, stub: Stub) -> None:
    gateway = setting({"STREAM_IDLE_TIMEOUT_SECS": "1"})
    stub.mode = "hang mid"
    reply, passed_s = took_s(lambda: gateway.chat(stream=True))
    assert b"upstream_timeout" in reply.content
    assert b"[DONE]" not in reply.content
    assert 0.9 < passed_s < 10
    stub.mode, stub.delay_s = "plain", 0.2
    reply, passed_s = took_s(lambda: gateway.chat(stream=True))
    assert b"[DONE]" in reply.content, "longer in all, and never so long without a piece"
    assert passed_s > 1


def test_a_call_waits_no_longer_than_queue_timeout_secs(setting: Set, stub: Stub) -> None:
    gateway = setting({"QUEUE_TIMEOUT_SECS": "0.2", "MAX_REQUEST_SECS": "3"}, queue={"timeout_s": 60.0})
    stub.mode = "hang"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.chat)
        until(lambda: stub.active == 1)
        reply = gateway.chat()
        assert not first.done()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "queue_timeout")
    assert "within 0.2 s" in reply.json()["error"]["message"]


def test_a_backend_gets_the_pause_that_the_circuit_variables_say(setting: Set, stub: Stub) -> None:
    gateway = setting({"CIRCUIT_FAILURE_THRESHOLD": "2", "CIRCUIT_RECOVERY_TIMEOUT": "0.25"})
    assert gateway.chat().status_code == 200
    stub.mode = "500"
    gateway.chat()
    assert gateway.backend("chat0")["breaker"]["state"] == "closed"
    gateway.chat()
    until(lambda: gateway.events("breaker_open"))
    assert gateway.events("breaker_open")[0]["pause_s"] == 0.25
    stub.mode = "plain"
    until(lambda: gateway.events("breaker_closed"))


def test_answers_are_kept_as_the_cache_variables_say(setting: Set) -> None:
    assert [embed(setting({}), "a") for _ in range(2)] == ["miss", "hit"]
    assert embed(setting({"CACHE_ENABLED": "false"}), "a") is None
    gateway = setting({"CACHE_MAX_ENTRIES": "1"})
    assert [embed(gateway, text) for text in ("b", "b", "c", "b")] == ["miss", "hit", "miss", "miss"]
    gateway = setting({"CACHE_TTL_SECS": "0.05"})
    time.sleep(0.06)  # what the gateway measures is real time
    assert embed(gateway, "b") == "miss"


def test_connections_are_no_more_than_the_pool_variables_say(setting: Set, stub: Stub) -> None:
    gateway = setting({"POOL_MAX_CONNECTIONS": "1", "MAX_REQUEST_SECS": "3"})
    stub.mode = "hang"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.chat)
        until(lambda: stub.active == 1)
        reply = gateway.chat()
        assert not first.done()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")
    assert "all 1 connections" in reply.json()["error"]["message"]


@pytest.mark.parametrize(("most", "kept"), [("3", 3), ("1", 1)])
def test_idle_connections_are_no_more_than_the_pool_variables_say(
    setting: Set, stub: Stub, most: str, kept: int
) -> None:
    setting({}, upstream={"idle_s": 0.01})
    until(lambda: not stub.connections)
    gateway = setting({"POOL_MAX_KEEPALIVE": most}, upstream={"idle_s": 60.0})
    stub.delay_s = 1.5  # on a busy machine three clients need a while until all are there
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(gateway.chat) for _ in range(3)]
        until(lambda: stub.active == 3)
    assert {answer.result().status_code for answer in answers} == {200}
    stub.delay_s = 0.0
    until(lambda: len(stub.connections) == kept)


def test_a_value_that_is_none_changes_nothing_and_is_named(setting: Set) -> None:
    gateway = setting({"CACHE_ENABLED": "maybe", "POOL_MAX_CONNECTIONS": "0", "CACHE_TTL_SECS": "5"})
    said = gateway.events("reload_refused")[-1]["problems"]
    assert said == [
        "CACHE_ENABLED='maybe' is no value for cache.enabled",
        "POOL_MAX_CONNECTIONS='0' is no value for upstream.connections",
    ]
    assert any("POOL_MAX_CONNECTIONS" in warning for warning in gateway.detailed()["warnings"])


def test_the_processs_environment_wins_over_env_and_that_over_the_file(
    start: Callable[..., Gateway], make_stub: Callable[..., Stub], tmp_path: Any
) -> None:
    stub = make_stub()
    (tmp_path / "dot.env").write_text("CIRCUIT_FAILURE_THRESHOLD=900\nCIRCUIT_RECOVERY_TIMEOUT=77\n")
    config = config_for(
        stub, env_file=str(tmp_path / "dot.env"), breaker={"failures": 800, "recovery_s": 66.0}
    )
    keys = {"GATEWAY_API_KEY": KEY, "CIRCUIT_FAILURE_THRESHOLD": "1"}
    gateway = start(config, keys).wait_ready(2)
    stub.mode = "500"
    gateway.chat()
    until(lambda: gateway.events("breaker_open"))
    assert gateway.events("breaker_open")[0]["pause_s"] == 77


@pytest.mark.parametrize(
    ("variable", "code"),
    [
        ("MAX_RPS_PER_IP", "requests_per_second"),
        ("RPS_BURST", "requests_per_second"),
        ("MAX_INFLIGHT_PER_IP", "in_flight"),
        ("ORG_DAILY_TOKEN_LIMIT", "tokens_per_day"),
        ("ORG_DAILY_REQUEST_LIMIT", "requests_per_day"),
        ("ORG_MONTHLY_TOKEN_LIMIT", "tokens_per_month"),
    ],
)
def test_a_limit_of_env_refuses_what_is_above_it(
    make_stub: Callable[..., Stub],
    start: Callable[..., Gateway],
    tmp_path: Path,
    variable: str,
    code: str,
) -> None:
    """Each so low that one call or two reach it, and no other."""
    figures = {
        "MAX_RPS_PER_IP": "0.001", "RPS_BURST": "1", "MAX_INFLIGHT_PER_IP": "1",
        "ORG_DAILY_TOKEN_LIMIT": "20", "ORG_DAILY_REQUEST_LIMIT": "1", "ORG_MONTHLY_TOKEN_LIMIT": "20",
    }  # fmt: skip
    (tmp_path / "env").write_text(f"{variable}={figures[variable]}\n")
    limits = {"MAX_RPS_PER_IP": {"burst": 1}, "RPS_BURST": {"requests_per_second": 0.001}}
    stub = make_stub()
    config = config_for(
        stub, env_file=str(tmp_path / "env"), limits=limits.get(variable, {}),
        store={"path": str(tmp_path / "counts.db")},
    )  # fmt: skip
    gateway = start(config).wait_ready(2)
    stub.delay_s = 1.0 if variable == "MAX_INFLIGHT_PER_IP" else 0.0
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: gateway.chat(max_tokens=10), range(3)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["error"]["code"] for answer in refused} == {code}
    assert 1 <= len(refused) <= 2


def test_no_variable_is_without_a_test_here() -> None:
    text = Path(__file__).read_text()
    assert [name for name in VARIABLES if text.count(f'"{name}"') == 0] == []
