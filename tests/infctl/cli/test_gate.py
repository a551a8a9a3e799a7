"""Real questions, judged: a status code is not an answer."""

from __future__ import annotations

from typing import Any

import pytest

from infctl.api import Api
from infctl.cli.gate import ask_all, cosine

from .conftest import KEY, Gateway, chat_reply, detailed


def answers(gateway: Gateway) -> dict[str, Any]:
    with Api(gateway.url, KEY) as api:
        return {a.task: a for a in ask_all(api, detailed()["models"], timeout_s=5)}


def test_each_task_of_each_model_is_asked_and_answered(gateway: Gateway) -> None:
    gateway.well()
    told = answers(gateway)
    assert {task: (a.model, a.answered, a.right) for task, a in told.items()} == {
        "chat": ("chat", True, True),
        "text2sql": ("chat", True, True),
        "embed": ("embed", True, True),
        "rerank": ("embed", True, True),
    }
    assert told["chat"].text == "The capital of France is Paris."
    assert told["embed"].text == "2 numbers; cosine 0.99 to a paraphrase, 0.00 to something else"
    assert told["rerank"].text == 'first of 2: "Paris is the capital of France." 0.85'


@pytest.mark.parametrize(
    ("path", "task", "reply"),
    [
        ("/v1/chat/completions", "chat", chat_reply("L'Étoile, la Marseillaise, la Marseillaise")),
        ("/v1/text2sql", "text2sql", chat_reply("users users users")),
        ("/v1/embeddings", "embed", {"data": [{"index": i, "embedding": [1.0, i % 2]} for i in (1, 0, 2)]}),
        ("/v1/rerank", "rerank", {"results": [{"index": 0, "relevance_score": 0.9}]}),
    ],
)
def test_fluent_nonsense_is_answered_but_not_right(
    gateway: Gateway, path: str, task: str, reply: Any
) -> None:
    gateway.well()
    gateway.answers[path] = (200, reply)
    told = answers(gateway)[task]
    assert told.answered
    assert told.right is False


@pytest.mark.parametrize(
    "reply", [{}, {"choices": []}, chat_reply(""), {"choices": [{"message": {"content": None}}]}, 7]
)
def test_an_empty_or_odd_reply_is_no_answer(gateway: Gateway, reply: Any) -> None:
    gateway.well()
    gateway.answers["/v1/chat/completions"] = (200, reply)
    assert not answers(gateway)["chat"].answered


def test_one_silent_model_does_not_keep_the_others_from_being_asked(gateway: Gateway) -> None:
    gateway.well()
    gateway.answers["/v1/chat/completions"] = (503, {"error": {"message": "no server of chat is ready"}})
    told = answers(gateway)
    assert (told["chat"].answered, told["embed"].answered) == (False, True)
    assert "no server of chat is ready" in told["chat"].text


def test_cosine_of_nothing_is_nothing() -> None:
    assert cosine([0, 0], [1, 0]) == 0.0
