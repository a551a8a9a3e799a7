"""What is asked: the same bytes for the same seed, and nothing a prefix cache could know."""

from __future__ import annotations

import hashlib
import json

from infctl.bench import lengths
from infctl.bench.pooling import Pooling
from infctl.bench.words import WORDS
from infctl.bench.workload import CONVERSATIONS, Synthetic, read_prefix


def workload(seed: int = 1, kind: str = "chat", words: str = "64", salt: str = "") -> Synthetic:
    return Synthetic(kind, "chat", seed, lengths.read(words), lengths.read("uniform:8-16"), salt=salt)


def test_a_seed_asks_the_same_bytes_for_ever() -> None:
    found = hashlib.sha256(b"".join(workload().ask(index).body for index in range(50))).hexdigest()
    assert found == "ac2996c1534eb25a5070010b6cfaba943ef34994b43b6de695f1eb01b174b17d"
    assert workload(seed=2).ask(0).body != workload().ask(0).body
    assert workload(salt="b").ask(0).body != workload().ask(0).body


def test_any_request_is_the_same_whatever_was_asked_before() -> None:
    first, second = workload(), workload()
    for index in range(100):
        first.ask(index)
    assert first.ask(7) == second.ask(7)


def test_a_prompt_has_as_many_words_as_were_drawn() -> None:
    for words in ("1", "2", "3", "64", "40000"):
        ask = workload(words=words).ask(300)
        prompt = json.loads(ask.body)["messages"][0]["content"]
        assert len(prompt.split(" ")) == int(words) == ask.asked_in
        assert set(prompt.split(" ")) <= set(WORDS)


def test_no_two_prompts_begin_alike() -> None:
    made = workload(words="8")
    asked = [json.loads(made.ask(index).body)["messages"][0]["content"] for index in range(3000)]
    assert len({tuple(prompt.split(" ")[:3]) for prompt in asked}) == 3000


def test_a_body_says_how_many_tokens_and_asks_for_the_count() -> None:
    ask = workload(kind="completions").ask(0)
    body = json.loads(ask.body)
    assert body["max_tokens"] == ask.asked_out
    assert body["stream_options"] == {"include_usage": True}
    assert body["ignore_eos"] is True
    assert isinstance(body["prompt"], str)


def test_prompts_share_as_many_beginnings_as_were_asked_for() -> None:
    made = Synthetic("chat", "chat", 1, lengths.read("10"), lengths.read("4"), prefix=read_prefix("3x100"))
    prompts = [json.loads(made.ask(index).body)["messages"][0]["content"].split() for index in range(60)]
    assert len({tuple(prompt[:100]) for prompt in prompts}) == 3
    assert len({tuple(prompt[100:]) for prompt in prompts}) == 60
    assert {len(prompt) for prompt in prompts} == {110}


def test_a_later_turn_has_all_that_was_said_before() -> None:
    made = Synthetic("chat", "chat", 1, lengths.read("10"), lengths.read("6"), turns=3)
    turns = [json.loads(made.ask(5 + turn * CONVERSATIONS).body)["messages"] for turn in range(3)]
    assert [len(messages) for messages in turns] == [1, 3, 5]
    assert turns[1][:1] == turns[0]
    assert turns[2][:3] == turns[1]
    assert [message["role"] for message in turns[2]] == ["user", "assistant"] * 2 + ["user"]
    assert made.ask(5 + 2 * CONVERSATIONS).asked_in == 3 * 10 + 2 * 6
    other = json.loads(made.ask(6).body)["messages"]
    assert other != turns[0]


def test_embeddings_and_rerank_ask_for_nothing_to_be_generated() -> None:
    one = Pooling("embeddings", "embed", 1, lengths.read("20")).ask(3)
    assert len(json.loads(one.body)["input"].split()) == 20 == one.asked_in
    ranked = Pooling("rerank", "rerank", 1, lengths.read("20")).ask(3)
    body = json.loads(ranked.body)
    assert [len(document.split()) for document in body["documents"]] == [20] * 8
    assert len(set(body["documents"])) == 8
    assert (ranked.asked_in, ranked.asked_out) == (165, 0)
