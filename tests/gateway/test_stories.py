"""Why a call went as it went: what an admin is told of one of the last calls."""

from __future__ import annotations

import json

import pytest

from gateway.config import Backend as Wanted
from gateway.config import Breaker
from gateway.metering import Cost
from gateway.policy.backend import Backend
from gateway.policy.limits import Limit
from gateway.stories import Step, Stories, Story, seen, told
from tests.gateway.process import ADMIN, BACKEND, KEY, config_for

FACTS = {
    "request_id": "req_1",
    "client_request_id": "mine",
    "level": "info",
    "event": "request",
    "tenant": "t",
}
ENV = {
    "GATEWAY_API_KEY": KEY,
    "ADMIN_API_KEY": ADMIN,
    "BACKEND_API_KEY": BACKEND,
    "ACME_KEY": "acme-key-0001",
}


def line(number: int, client: str | None = None) -> bytes:
    return json.dumps(FACTS | {"request_id": f"req_{number}", "client_request_id": client}).encode()


def test_the_last_calls_are_kept_and_no_more():
    kept = Stories(3)
    for number in range(5):
        kept.keep(line(number), Story(), 0.0)
    assert [kept.find(f"req_{number}") is not None for number in range(5)] == [False, False, True, True, True]
    kept.resized(1)
    assert kept.find("req_3") is None
    assert kept.find("req_4") is not None


def test_a_call_is_found_by_its_clients_own_id_the_last_one_first():
    kept = Stories(3)
    kept.keep(line(1, "mine"), Story(), 0.0)
    kept.keep(line(2, "mine"), Story(), 0.0)
    found = kept.find("mine")
    assert found is not None
    assert found["request"]["request_id"] == "req_2"


def test_a_story_is_told_in_words_and_times_since_the_request_came():
    story = Story()
    backend = Backend(Wanted(id="a", url="http://127.0.0.1:1", concurrency=4), "chat", Breaker(), 0.0)
    backend.in_flight = 2
    story.steps = [Step(10.5, "a", seen([backend]), "upstream_head")]
    story.limits, story.lefts = (Limit("tokens_per_day", "tenant:t", 1000),), [400]
    story.tokens, story.cost, story.message = 300, Cost(unknown=True), "too bad"
    found = told(FACTS, story, 10.0)
    assert found["request"] == {"request_id": "req_1", "client_request_id": "mine", "tenant": "t"}
    assert found["attempts"] == [
        {
            "at_ms": 500.0,
            "backend": "a",
            "failed": "upstream_head",
            "candidates": [
                {
                    "backend": "a",
                    "in_flight": 2,
                    "capacity": 4,
                    "state": "loading",
                    "breaker": "closed",
                    "chosen": True,
                }
            ],
        }
    ]
    assert found["limits"] == [
        {"code": "tokens_per_day", "of": "tenant:t", "limit": 1000, "left": 400, "per_s": None}
    ]
    assert found["tokens"] == {"reserved": 300, "counted": 300, "unknown": True}
    assert found["message"] == "too bad"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_admin_is_told_of_a_call_whichever_worker_had_it(start, make_stub, tmp_path, workers):
    first, second = make_stub("first"), make_stub("second")
    config = config_for(first, second, workers=workers) | {
        "store": {"path": str(tmp_path / "counts.db")},
        "tenants": {"acme": {"key_envs": ["ACME_KEY"], "limits": {"requests_per_day": 100}}},
    }
    gateway = start(config, ENV).wait_ready(3 * workers)
    first.stop()
    asked = [
        gateway.http.post(
            "/v1/chat/completions",
            json={"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10},
            headers={"authorization": "Bearer acme-key-0001", "connection": "close"},
        ).headers["x-request-id"]
        for _ in range(6)
    ]
    stories = [gateway.admin("GET", f"/admin/requests/{request_id}") for request_id in asked]
    assert {story.status_code for story in stories} == {200}
    every = [story.json() for story in stories]
    assert {story["request"]["tenant"] for story in every} == {"acme"}
    assert all(story["attempts"][-1]["failed"] is None for story in every)
    failed = [story for story in every if len(story["attempts"]) > 1]
    assert failed, "the first backend was gone, and somebody met that"
    assert failed[0]["attempts"][0]["failed"].startswith("upstream_")
    assert {each["backend"] for each in failed[0]["attempts"][0]["candidates"]} == {"chat0", "chat1"}
    assert every[0]["tokens"]["counted"] == 12
    assert every[0]["tokens"]["reserved"] > 12
    assert {limit["code"] for limit in every[0]["limits"]} >= {"requests_per_day", "tokens_per_day"}
    unknown = gateway.admin("GET", "/admin/requests/req_nobody")
    assert unknown.status_code == 404
    assert "is not among the last 500 calls" in unknown.json()["error"]["message"]
    assert gateway.http.get(f"/admin/requests/{asked[0]}").status_code == 401


def test_a_refusal_is_told_with_its_message(start, make_stub, tmp_path):
    config = config_for(make_stub()) | {
        "store": {"path": str(tmp_path / "counts.db")},
        "limits": {"requests_per_second": 0.01, "burst": 1},
    }
    gateway = start(config, ENV).wait_ready(2)
    refused = [gateway.chat() for _ in range(3)][-1]
    assert refused.status_code == 429
    story = gateway.admin("GET", f"/admin/requests/{refused.headers['x-request-id']}").json()
    assert story["message"] == refused.json()["error"]["message"]
    assert story["attempts"] == []
    assert story["tokens"]["counted"] is None
