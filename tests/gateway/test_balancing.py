"""Which replica of a real gateway gets a call, by each policy."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.openai import PREFIX_BYTES, prefix_of
from tests.gateway.process import config_for


def said(*texts, system="You are helpful."):
    return {
        "messages": [
            {"role": "system", "content": system},
            *(
                {"role": "user" if n % 2 == 0 else "assistant", "content": text}
                for n, text in enumerate(texts)
            ),
        ]
    }


def test_later_turns_of_a_conversation_begin_alike():
    first = prefix_of(said("hello"))
    assert prefix_of(said("hello", "hi", "and now?")) == first
    assert prefix_of(said("other")) != first
    assert prefix_of({"prompt": "a" * 5000}) == prefix_of({"prompt": "a" * 4000 + "b"})
    assert len(prefix_of(said("x" * 5000))) == PREFIX_BYTES
    assert prefix_of({"input": ["x"]})
    assert prefix_of({}) == prefix_of({"messages": 3}) == b""


@pytest.mark.parametrize("policy", ["least_in_flight", "power_of_two", "prefix_hash", "weighted"])
def test_each_policy_uses_every_replica(start, make_stub, policy):
    stubs = [make_stub(name) for name in "abc"]
    gateway = start(config_for(*stubs, balancing={"policy": policy})).wait_ready(4)
    answers = [gateway.chat(**said(f"question {n}")) for n in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["backend"] for answer in answers} == {"a", "b", "c"}


def test_weights_are_shares(start, make_stub):
    config = config_for(make_stub("a"), make_stub("b"), balancing={"policy": "weighted"})
    config["models"][0]["backends"][0]["weight"] = 3
    gateway = start(config).wait_ready(3)
    assert Counter(gateway.chat().json()["backend"] for _ in range(40)) == {"a": 30, "b": 10}


def test_a_prompt_and_a_session_stay_at_their_replica(start, make_stub):
    stubs = [make_stub(name) for name in "abc"]
    balancing = {"policy": "prefix_hash", "session_header": "x-session-id"}
    gateway = start(config_for(*stubs, balancing=balancing)).wait_ready(4)
    for n in range(4):
        turns = [said(f"q{n}"), said(f"q{n}", "answer", "more"), said(f"q{n}", "answer", "more", "a", "b")]
        assert len({gateway.chat(**turn).json()["backend"] for turn in turns}) == 1
    body = {"model": "chat"} | said("x")
    sessions = {}
    for n in range(12):
        replies = [
            gateway.http.post(
                "/v1/chat/completions",
                json=body | said(f"{n} {turn}"),
                headers={"x-session-id": f"session {n}"},
            )
            for turn in range(3)
        ]
        [sessions[n]] = {reply.json()["backend"] for reply in replies}
    assert set(sessions.values()) == {"a", "b", "c"}
