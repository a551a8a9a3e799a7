"""Limits on the way of real calls: what is taken, what is settled, and what is told, in a real gateway."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.policy.exchange import Overview
from gateway.store.sqlite import SQLite
from tests.gateway.process import ADMIN, BACKEND, KEY, ROOT, Gateway, config_for, until

ACME = "acme-key-canary-0001"
LAB = "lab-key-canary-0002"
ENV = {
    "GATEWAY_API_KEY": KEY,
    "ADMIN_API_KEY": ADMIN,
    "BACKEND_API_KEY": BACKEND,
    "ACME_KEY": ACME,
    "LAB_KEY": LAB,
}
USED = 12
"""Tokens of each answer of the stub: 5 and 7."""


@pytest.fixture
def limited(
    start: Callable[..., Gateway], make_stub: Callable[..., Any], tmp_path: Path
) -> Callable[..., Any]:
    """A gateway with a store, and its stub; `acme`: the limits of a tenant."""

    def go(acme: dict[str, Any] | None = None, *, stub: Any = None, **more: Any) -> tuple[Gateway, Any]:
        stub = stub or make_stub()
        config = config_for(stub) | {
            "store": {"path": str(tmp_path / "counts.db")},
            "tenants": {
                "acme": {"key_envs": ["ACME_KEY"], "limits": acme or {}},
                "lab": {"key_envs": ["LAB_KEY"]},
            },
        }
        return start(config | more, ENV).wait_ready(2), stub

    return go


def chat(gateway: Gateway, key: str = ACME, **fields: Any) -> httpx.Response:
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10} | fields
    return gateway.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def counts(path: Path) -> dict[str, Overview]:
    store = SQLite(path)
    try:
        return {one.counter: one for one in store.overview()}
    finally:
        store.close()


def told(gateway: Gateway, path: Path) -> dict[str, Overview]:
    """After the gateway has said all it knows: it is stopped."""
    assert gateway.stop() == 0
    return counts(path)


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_a_day_of_tokens_ends_for_its_tenant_alone(limited, tmp_path):
    gateway, _ = limited({"tokens_per_day": 100})
    statuses = [chat(gateway).status_code for _ in range(12)]
    assert statuses == [200] * 8 + [429] * 4, "8 x 12 are used: there is no room for 5 and up to 10 more"
    refused = chat(gateway)
    assert (refused.status_code, code(refused)) == (429, "tokens_per_day")
    error = refused.json()["error"]
    assert error["type"] == "quota_exceeded"
    assert "acme" in error["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert '"tokens-day";r=' in refused.headers["ratelimit"]
    assert chat(gateway, LAB).status_code == 200
    assert gateway.chat(max_tokens=10).status_code == 200
    held = told(gateway, tmp_path / "counts.db")
    assert held["tokens_per_day|tenant:acme"].settled == USED * 8
    assert held["tokens_per_day|tenant:acme"].leased == 0
    assert held["tokens_per_day|tenant:lab"].settled == USED
    assert held["tokens_per_day|tenant:127.0.0.1"].settled == USED
    assert held["requests_per_day|tenant:acme"].settled == 8


def test_where_the_bound_alone_would_refuse_the_engine_counts_the_prompt_once(limited):
    gateway, stub = limited({"tokens_per_day": 100})
    answer = chat(gateway, messages=[{"role": "user", "content": "x" * 300}], max_tokens=20)
    assert answer.status_code == 200, answer.text
    asked = [json.loads(body) for line, _, body in stub.seen if line == "POST /tokenize"]
    assert asked == [{"model": "served", "messages": [{"role": "user", "content": "x" * 300}]}]
    refused = chat(gateway, messages=[{"role": "user", "content": "x" * 300}], max_tokens=100)
    assert code(refused) == "tokens_per_day"
    assert len([line for line, _, _ in stub.seen if line == "POST /tokenize"]) == 1, (
        "it could not have helped"
    )
    metrics = gateway.http.get("/metrics").text
    assert 'infctl_prompts_counted_total{model="chat"} 1' in metrics


def test_every_answer_says_how_the_limits_stand(limited):
    gateway, _ = limited({"tokens_per_day": 5000, "requests_per_second": 2.0, "burst": 3})
    first, second = chat(gateway), chat(gateway, stream=True)
    for answer in (first, second):
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert answer.headers["x-ratelimit-limit-tokens"] == "5000"
        assert answer.headers["ratelimit-policy"] == '"requests-second";q=3;w=2, "tokens-day";q=5000;w=86400'
    left = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in (first, second)]
    assert left[0] > left[1]


def test_a_burst_is_refused_with_the_time_to_wait(limited):
    gateway, _ = limited({"requests_per_second": 0.5, "burst": 2})
    answers = [chat(gateway) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert {code(answer) for answer in answers[2:]} == {"requests_per_second"}
    assert answers[2].json()["error"]["type"] == "rate_limit_exceeded"
    assert int(answers[2].headers["retry-after"]) in {1, 2}


def test_what_is_in_flight_is_bounded_and_comes_free(limited):
    gateway, stub = limited({"in_flight": 1})
    stub.delay_s = 0.2
    with gateway.http.stream(
        "POST", "/v1/chat/completions", headers={"authorization": f"Bearer {ACME}"},
        json={"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": True},
    ) as open_one:  # fmt: skip
        assert open_one.status_code == 200
        assert code(chat(gateway)) == "in_flight"
        assert chat(gateway, LAB, max_tokens=1).status_code == 200
        open_one.read()
    stub.delay_s = 0.0
    until(lambda: chat(gateway).status_code == 200)


def test_a_model_that_is_not_allowed_is_neither_served_nor_shown(limited):
    gateway, stub = limited({"models": ["embed"]})
    refused = chat(gateway)
    assert (refused.status_code, code(refused)) == (403, "model_not_allowed")
    assert "acme may not use chat. Allowed with this key: embed." in refused.json()["error"]["message"]
    headers = {"authorization": f"Bearer {ACME}"}
    assert [each["id"] for each in gateway.http.get("/v1/models", headers=headers).json()["data"]] == [
        "embed"
    ]
    assert gateway.http.get("/v1/models/chat", headers=headers).status_code == 404
    assert not stub.seen


@pytest.mark.parametrize("mode", ["500", "reset before"])
def test_what_a_backend_fails_at_costs_a_request_and_no_tokens(limited, tmp_path, mode):
    gateway, stub = limited()
    stub.mode = mode
    assert chat(gateway).status_code >= 500
    held = told(gateway, tmp_path / "counts.db")
    assert held["tokens_per_day|tenant:acme"].settled == 0
    assert held["requests_per_day|tenant:acme"].settled == 1
    assert held["tokens_per_day|tenant:acme"].leased == 0


def test_what_found_no_backend_has_taken_nothing(limited, tmp_path):
    gateway, stub = limited()
    stub.stop()
    assert chat(gateway).status_code in {502, 503}
    held = told(gateway, tmp_path / "counts.db")
    assert held["requests_per_day|tenant:acme"].settled == 0


def test_an_aborted_stream_settles_at_the_last_usage_that_was_read(limited, tmp_path):
    gateway, stub = limited()
    stub.mode = "hang mid"
    body = {
        "model": "chat",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 10,
        "stream": True,
    }
    sent = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
            b"content-length: %d\r\n\r\n%b" % (ACME.encode(), len(sent), sent)
        )
        seen = b""
        while seen.count(b"data: ") < 3:
            seen += client.recv(65536)
    line = until(lambda: next((one for one in gateway.events("request") if one["status"] == 499), None))
    assert (line["prompt_tokens"], line["completion_tokens"]) == (5, 3)
    held = told(gateway, tmp_path / "counts.db")
    assert held["tokens_per_day|tenant:acme"].settled == 8
    assert held["tokens_per_day|tenant:acme"].unknown == 0


def test_a_plain_call_that_its_client_leaves_counts_as_reserved_and_is_marked(limited, tmp_path):
    gateway, stub = limited()
    stub.mode = "hang"
    with pytest.raises(httpx.ReadTimeout):
        gateway.http.post(
            "/v1/completions", json={"model": "chat", "prompt": "hi", "max_tokens": 10},
            headers={"authorization": f"Bearer {ACME}"}, timeout=0.5,
        )  # fmt: skip
    until(lambda: gateway.events("request"))
    held = told(gateway, tmp_path / "counts.db")
    counted = held["tokens_per_day|tenant:acme"]
    assert counted.settled == counted.unknown == len("hi") + 8 + 10


def test_an_answer_of_the_cache_counts_as_a_request_without_tokens(limited, tmp_path):
    gateway, _ = limited()
    answers = [chat(gateway, temperature=0) for _ in range(3)]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "hit", "hit"]
    held = told(gateway, tmp_path / "counts.db")
    assert held["tokens_per_day|tenant:acme"].settled == USED
    assert held["requests_per_day|tenant:acme"].settled == 3


def test_counts_outlive_a_restart_and_a_kill(limited, tmp_path):
    path = tmp_path / "counts.db"
    gateway, stub = limited({"requests_per_day": 300})
    assert [chat(gateway).status_code for _ in range(3)] == [200] * 3
    assert told(gateway, path)["requests_per_day|tenant:acme"].settled == 3
    gateway, _ = limited({"requests_per_day": 300}, stub=stub)
    assert chat(gateway).status_code == 200
    until(lambda: counts(path)["requests_per_day|tenant:acme"].settled == 4)
    assert chat(gateway).status_code == 200
    gateway.signal(signal.SIGKILL)
    gateway.process.wait(10)
    lost = counts(path)["requests_per_day|tenant:acme"]
    assert lost.settled + lost.leased >= 5, "what it held counts as used until the window ends"
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()
    gateway, _ = limited({"requests_per_day": 300}, stub=stub)
    assert chat(gateway).status_code == 200
    assert told(gateway, path)["requests_per_day|tenant:acme"].settled == lost.settled + 1


def test_four_workers_together_never_pass_a_limit(limited, tmp_path):
    gateway, _ = limited({"requests_per_day": 40, "requests_per_second": "none"}, workers=4)
    statuses: list[int] = []
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=20) as one:
        for _ in range(60):  # each on a connection of its own: the kernel spreads them over the workers
            body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
            headers = {"authorization": f"Bearer {ACME}", "connection": "close"}
            statuses.append(one.post("/v1/chat/completions", json=body, headers=headers).status_code)
    assert (statuses.count(200), statuses.count(429)) == (40, 20)
    assert told(gateway, tmp_path / "counts.db")["requests_per_day|tenant:acme"].settled == 40


def test_variables_of_the_reference_platform_hold(start, make_stub, tmp_path):
    config = config_for(make_stub()) | {"store": {"path": str(tmp_path / "counts.db")}, "env_file": ".env"}
    folder = tmp_path / "0"
    gateway = None
    (tmp_path / "env").write_text("MAX_RPS_PER_IP=0.01\nRPS_BURST=2\nORG_DAILY_REQUEST_LIMIT=5\n")
    config["env_file"] = str(tmp_path / "env")
    gateway = start(config, ENV).wait_ready(2)
    assert folder.exists()
    assert [gateway.chat().status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("folder", "cannot be used"),
        ("newer", "a newer gateway wrote it"),
        ("text", "is not a database"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_at_start(make_stub, tmp_path, broken, said):
    path = tmp_path / "counts.db"
    if broken == "folder":
        path.mkdir()
    elif broken == "text":
        path.write_text("this is no database, " * 100)
    else:
        SQLite(path).close()
        with sqlite3.connect(path) as newer:
            newer.execute("PRAGMA user_version=999")
        newer.close()
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(config_for(make_stub()) | {"store": {"path": str(path)}}))
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "--config", str(file)],
        cwd=ROOT, env=ENV, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_limits_without_a_store_are_a_warning_and_hold_nobody_back(start, make_stub):
    config = config_for(make_stub()) | {"limits": {"requests_per_day": 1}}
    gateway = start(config, ENV).wait_ready(2)
    assert [gateway.chat().status_code for _ in range(3)] == [200] * 3
    assert any("limits are configured, and no store" in text for text in gateway.detailed()["warnings"])


def test_a_reload_changes_limits_and_keeps_what_was_used(limited, tmp_path):
    gateway, _ = limited({"requests_per_day": 2})
    assert [chat(gateway).status_code for _ in range(3)] == [200, 200, 429]
    gateway.config["tenants"]["acme"]["limits"]["requests_per_day"] = 4
    gateway.write(gateway.config)
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.events("reloaded"))
    assert [chat(gateway).status_code for _ in range(3)] == [200, 200, 429]
    assert told(gateway, tmp_path / "counts.db")["requests_per_day|tenant:acme"].settled == 4
