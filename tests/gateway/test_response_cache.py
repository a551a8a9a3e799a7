"""Answers kept by a real gateway: for whom, for which calls, and one fetch for many who ask."""

from __future__ import annotations

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway import config as configuration
from gateway.catalog import Catalog
from gateway.openai import read_call
from tests.gateway.process import KEY, config_for, until

MESSAGES = [{"role": "user", "content": "x"}]
CATALOG = Catalog(
    configuration.parse(
        {
            "models": [
                {
                    "name": "m",
                    "served_name": "served",
                    "aliases": ["alias"],
                    "tasks": ["chat", "embed", "rerank"],
                    "backends": [{"id": "b", "url": "http://127.0.0.1:1"}],
                }
            ]
        }
    )
)


def digest(path, **body):
    return read_call(path, json.dumps({"model": "m"} | body).encode(), CATALOG).digest


@pytest.mark.parametrize(
    ("path", "body", "kept"),
    [
        ("/v1/embeddings", {"input": "x"}, True),
        ("/v1/rerank", {"query": "x", "documents": ["y"]}, True),
        ("/v1/score", {"text_1": "x", "text_2": "y"}, True),
        ("/v1/chat/completions", {"messages": MESSAGES, "temperature": 0}, True),
        ("/v1/chat/completions", {"messages": MESSAGES, "temperature": 0.0}, True),
        ("/v1/chat/completions", {"messages": MESSAGES, "seed": 7}, True),
        ("/v1/completions", {"prompt": "x", "temperature": 0}, True),
        ("/v1/chat/completions", {"messages": MESSAGES}, False),
        ("/v1/chat/completions", {"messages": MESSAGES, "temperature": 0.1}, False),
        ("/v1/chat/completions", {"messages": MESSAGES, "temperature": 0, "stream": True}, False),
        ("/v1/responses", {"input": "x", "temperature": 0}, False),
        ("/tokenize", {"prompt": "x"}, False),
    ],
)
def test_only_what_depends_on_nothing_but_the_call_is_kept(path, body, kept):
    assert (digest(path, **body) is not None) == kept


def test_calls_that_say_the_same_are_the_same_call_however_written():
    def read(text: str) -> bytes | None:
        return read_call("/v1/embeddings", text.encode(), CATALOG).digest

    one = read('{"model":"m","input":"\\u00e9","dimensions":8}')
    assert one == read('{ "dimensions": 8, "input": "é", "model": "alias" }')
    assert one != read('{"model":"m","input":"e","dimensions":8}')
    assert one != read('{"model":"m","input":"é"}')
    assert one != read_call("/v1/score", '{"model":"m","input":"é","dimensions":8}'.encode(), CATALOG).digest


def embed(gateway, text="x", tenant=None, **headers):
    if tenant is not None:
        headers["x-forwarded-for"] = tenant
    return gateway.http.post("/v1/embeddings", json={"model": "embed", "input": text}, headers=headers)


def test_the_second_call_is_answered_from_the_cache_and_costs_no_tokens(start, make_stub):
    stub = make_stub()
    gateway = start(config_for(stub)).wait_ready(2)
    first, second = embed(gateway), embed(gateway)
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.content == second.content
    assert first.headers["content-type"] == second.headers["content-type"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert len(stub.seen) == 1
    line = gateway.request_line(second.headers["x-request-id"])
    assert (line["cache"], line["backend"], line["prompt_tokens"], line["status"]) == ("hit", None, None, 200)
    assert "x-cache" not in gateway.chat().headers
    assert embed(gateway, **{"cache-control": "no-cache"}).headers.get("x-cache") is None
    assert len([each for each in stub.seen if "embeddings" in each[0]]) == 2
    metrics = gateway.http.get("/metrics").text
    assert 'infctl_cache_requests_total{model="embed",outcome="hit"} 1.0' in metrics
    assert "infctl_cache_entries 1.0" in metrics


@pytest.mark.parametrize(("scope", "sent"), [("tenant", 2), ("shared", 1)])
def test_one_tenants_answer_serves_another_only_where_that_is_wanted(start, make_stub, scope, sent):
    stub = make_stub()
    gateway = start(config_for(stub, cache={"scope": scope})).wait_ready(2)
    for tenant in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
        assert embed(gateway, tenant=tenant).status_code == 200
    assert len(stub.seen) == sent


def test_an_answer_is_forgotten_after_its_time_and_by_a_reload_of_the_models(start, make_stub):
    stub = make_stub()
    config = config_for(stub, cache={"ttl_s": 0.3})
    gateway = start(config).wait_ready(2)
    embed(gateway)
    until(lambda: embed(gateway).headers["x-cache"] == "miss", 2)
    assert embed(gateway).headers["x-cache"] == "hit"
    config["models"][1]["served_name"] = "newer"
    gateway.write(config)
    gateway.signal(signal.SIGHUP)
    until(lambda: gateway.events("reloaded"))
    assert embed(gateway).headers["x-cache"] == "miss"


def test_switched_off_nothing_is_kept_or_said(start, make_stub):
    stub = make_stub()
    gateway = start(config_for(stub, cache={"enabled": False})).wait_ready(2)
    assert all("x-cache" not in embed(gateway).headers for _ in range(3))
    assert len(stub.seen) == 3


@pytest.mark.parametrize("mode", ["500", "422 odd", "reset before", "short"])
def test_a_failure_is_never_kept(start, make_stub, mode):
    stub = make_stub()
    gateway = start(config_for(stub)).wait_ready(2)
    stub.mode = mode
    assert embed(gateway).status_code >= 400
    stub.mode = "plain"
    answer = embed(gateway)
    assert (answer.status_code, answer.headers["x-cache"]) == (200, "miss")


def test_equal_calls_at_once_are_sent_once(start, make_stub):
    stub = make_stub()
    stub.delay_s = 0.5
    gateway = start(config_for(stub)).wait_ready(2)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: embed(gateway), range(10)))
    assert len(stub.seen) == 1
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.headers["x-cache"] for answer in answers).count("miss") == 1


def test_a_fetch_that_fails_does_not_fail_those_who_waited_for_it(start, make_stub):
    stub = make_stub()
    stub.delay_s = 0.4
    stub.mode = "short"
    gateway = start(config_for(stub)).wait_ready(2)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(embed, gateway)
        until(lambda: stub.active == 1)
        others = [pool.submit(embed, gateway) for _ in range(4)]
        until(lambda: first.done() or _set(stub, "plain"))
        assert first.result().status_code == 502
        assert {each.result().status_code for each in others} == {200}
    assert len(stub.seen) == 5


def _set(stub, mode):
    """The answer under way keeps the mode it began with."""
    stub.mode = mode


def test_a_client_that_leaves_hands_the_fetch_to_the_next_who_waits(start, make_stub):
    stub = make_stub()
    stub.mode = "hang"
    gateway = start(config_for(stub)).wait_ready(2)
    body = json.dumps({"model": "embed", "input": "x"}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    with ThreadPoolExecutor(4) as pool:
        with socket.create_connection(("127.0.0.1", gateway.port)) as leader:
            leader.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: stub.active == 1)
            others = [pool.submit(embed, gateway) for _ in range(4)]
            until(lambda: gateway.backend("embed")["requests"] == 1)
            stub.mode = "plain"
        assert {each.result().status_code for each in others} == {200}
    assert len(stub.seen) <= 3
