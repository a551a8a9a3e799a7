"""What is asked: the same bytes for the same seed, and nothing a prefix cache could know."""

from __future__ import annotations

import hashlib
import json

from infctl.bench import lengths
from infctl.bench.words import WORDS
from infctl.bench.workload import Synthetic


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
