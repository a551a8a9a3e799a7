"""What the gateway adds to a call for a tenant, and the time a client gives it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import config as configuration
from gateway import strictjson
from gateway.catalog import Catalog
from gateway.config import Config
from gateway.openai import read_call
from gateway.salt import Salt, Salts
from tests.examples import examples
from tests.gateway.process import KEY, config_for, until

SALT = Salt(b"key", "tenant")
CATALOG = Catalog(
    configuration.parse(
        {
            "models": [
                {
                    "name": "m",
                    "served_name": "m",
                    "aliases": ["alias"],
                    "tasks": ["chat", "embed", "rerank"],
                    "backends": [{"id": "b", "url": "http://127.0.0.1:1"}],
                }
            ]
        }
    )
)
TEXTS = [
    '{"model":"m","messages":[{"role":"user","content":"\u00e9 { \\" }"}]}',
    '{ "messages" : [ {"role":"user","content":"x"} ] , "model" : "alias" , "cache_salt" : "own" }',
    '{"model":"alias","stream":true,"messages":[{"role":"user","content":"x"}],"x":{"cache_salt":"no"}}',
]


# The salt.


def test_salts_differ_between_tenants_and_keys_and_stay_the_same():
    env = {"BACKEND_API_KEY": "b", "GATEWAY_API_KEY": "g"}
    one, two = Salts(Config(models=()), env), Salts(Config(models=()), env)
    found = [
        one.of("a"),
        one.of("b"),
        two.of("a"),
        Salts(Config(models=()), env | {"CACHE_SALT_KEY": "s"}).of("a"),
    ]
    texts = [salt.plain for salt in found if salt is not None]
    assert texts[0] == texts[2]
    assert len(set(texts)) == 3
    assert all(len(text) == 43 for text in texts)
    assert Salts(Config(models=(), cache_salt="shared"), env).of("a") is None


def test_a_client_cannot_choose_another_tenants_salt():
    victim = Salt(b"key", "victim")
    attacker = Salt(b"key", "attacker")
    assert victim.plain not in {attacker.mixed(victim.plain), attacker.mixed("x"), attacker.plain}
    assert attacker.mixed("a") != attacker.mixed("b")
    assert attacker.mixed("a") == attacker.mixed("a")


@pytest.mark.parametrize("text", TEXTS)
def test_only_the_salt_is_added_and_all_else_stays(text):
    sent = json.loads(read_call("/v1/chat/completions", text.encode(), CATALOG, SALT).body)
    asked = json.loads(text)
    assert sent.pop("cache_salt") == SALT.mixed(asked.pop("cache_salt", None))
    sent.pop("stream_options", None)
    assert sent == asked | {"model": "m"}


def test_a_compact_body_is_not_written_anew_for_the_salt():
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    sent = read_call("/v1/chat/completions", body, CATALOG, SALT).body
    assert sent == b'{"cache_salt":"%b",%b' % (SALT.plain.encode(), body[1:])


def test_every_call_that_an_engine_keeps_prefixes_of_is_salted():
    """Pooling models have a prefix cache too."""
    for path, fields in {
        "/v1/embeddings": {"input": "x"},
        "/v1/rerank": {"query": "x", "documents": ["y"]},
        "/v1/score": {"text_1": "x", "text_2": "y"},
        "/v1/completions": {"prompt": "x"},
        "/v1/responses": {"input": "x"},
        "/tokenize": {"prompt": "x"},
    }.items():
        body = json.dumps({"model": "m"} | fields).encode()
        sent = json.loads(read_call(path, body, CATALOG, SALT).body)
        assert sent.get("cache_salt") == (None if path == "/tokenize" else SALT.plain)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from("abcd"), _json, max_size=4),
    st.dictionaries(st.sampled_from("cdef"), _json, min_size=1, max_size=4),
    st.sampled_from([None, 2]),
)
@settings(max_examples=examples(300), deadline=None)
def test_put_changes_what_it_is_told_and_nothing_else(value, changes, indent):
    separators = (",", ":") if indent is None else None
    body = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False).encode()
    assert json.loads(strictjson.read(body).put(changes)) == value | changes


def test_a_backend_gets_the_tenants_salt_and_the_clients_priority(start, make_stub):
    stub = make_stub()
    gateway = start(config_for(stub, cache_salt="tenant")).wait_ready(2)
    for tenant in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
        body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "priority": 3}
        headers = {"x-forwarded-for": tenant}
        assert gateway.http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    sent = [json.loads(body) for _, _, body in stub.seen]
    assert sent[0]["cache_salt"] == sent[2]["cache_salt"] != sent[1]["cache_salt"]
    assert [each["priority"] for each in sent] == [3, 3, 3]
    assert gateway.chat(priority="high").status_code == 400
    assert gateway.chat(cache_salt="").status_code == 400


# The deadline.


def ask(gateway, timeout, **fields):
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]} | fields
    return gateway.http.post("/v1/chat/completions", json=body, headers={"x-request-timeout": timeout})


@pytest.mark.parametrize("timeout", ["soon", "0", "-1", "nan", "inf", "1e999", ""])
def test_a_time_that_is_none_is_a_400(shared, stub, timeout):
    reply = ask(shared, timeout)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "x-request-timeout")


def test_the_time_left_goes_on_to_the_backend(shared, stub):
    assert ask(shared, "30").status_code == 200
    assert 29 < float(stub.seen[0][1]["x-request-timeout"]) <= 30
    assert ask(shared, "1e6").status_code == 200
    assert "x-request-timeout" not in stub.seen[1][1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_ends_at_its_own_deadline_and_no_breaker_counts_it(start, make_stub, stream):
    stub = make_stub()
    gateway = start(config_for(stub, breaker={"failures": 1})).wait_ready(2)
    stub.mode = "hang mid" if stream else "hang"
    began = time.monotonic()
    reply = ask(gateway, "0.6", stream=stream)
    assert 0.6 <= time.monotonic() - began < 2
    if stream:
        assert b"upstream_timeout" in reply.content
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")
    line = gateway.request_line(reply.headers["x-request-id"])
    assert (line["outcome"], line["reason"]) == ("upstream_timeout", "deadline")
    until(lambda: stub.active == 0)
    assert gateway.backend("chat0")["breaker"]["opened"] == 0
    assert gateway.backend("chat0")["in_flight"] == 0


def test_the_total_time_of_the_configuration_is_a_failure_of_the_backend(start, make_stub):
    stub = make_stub()
    keys = {"GATEWAY_API_KEY": KEY, "MAX_REQUEST_SECS": "0.6"}
    gateway = start(config_for(stub), keys).wait_ready(2)
    stub.mode = "hang"
    reply = gateway.chat()
    assert reply.status_code == 504
    assert gateway.request_line(reply.headers["x-request-id"])["reason"] == "timeout_head"
    assert gateway.backend("chat0")["breaker"]["failures"] == 1
