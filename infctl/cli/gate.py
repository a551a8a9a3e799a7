"""One real question to each model, through the gateway: the proof that the platform answers, and rightly.

`answered` is what `infctl up` insists on; `right` is what `infctl health --deep` adds (None: nobody can say).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infctl.api import Api
from infctl.errors import GatewayError
from infctl.shown import shown

CAPITAL = "What is the capital of France?"
_SQL = "Table users has the columns id and name. Write one SQL query that shows all users."
_SENTENCES = ("A cat sits on the mat", "A feline rests on a rug", "The stock market fell today")
_DOCUMENTS = ("London is a city in England.", "Paris is the capital of France.", "Bread is made of flour.")
_ANSWER_TOKENS = 48
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    model: str
    task: str
    question: str
    text: str
    """What the model said, in one line; or why it said nothing."""
    answered: bool
    right: bool | None
    seconds: float

    def as_data(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "task": self.task,
            "question": self.question,
            "answer": self.text,
            "answered": self.answered,
            "right": self.right,
            "seconds": round(self.seconds, 3),
        }


def ask_all(
    api: Api,
    models: Sequence[Mapping[str, Any]],
    *,
    timeout_s: float,
    asking: Callable[[str, str], None] = lambda _model, _task: None,
) -> Iterator[Answer]:
    """A question for each task of each model of /health/detailed. A failure is an answer, never raised."""
    for model in models:
        for task in model.get("tasks", ()):
            if task in _TASKS:
                asking(str(model["name"]), task)
                yield _ask(api, str(model["name"]), task, timeout_s)


def _ask(api: Api, model: str, task: str, timeout_s: float) -> Answer:
    question, path, body, read = _TASKS[task]
    begun = time.monotonic()
    try:
        reply = api.post(path, {"model": model, **body}, timeout_s=timeout_s)
        text, right = read(reply)
        answered = bool(text)
    except GatewayError as error:
        text, right, answered = error.message, None, False
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        text, right, answered = f"{path} gave an answer of another shape ({error!r})", None, False
    return Answer(model, task, question, text, answered, right, time.monotonic() - begun)


def one_line(text: str) -> str:
    return shown(" ".join(text.split()), _SHOWN_CHARS)


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    norm = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else 0.0


def _said(reply: Mapping[str, Any]) -> str:
    message = reply["choices"][0]["message"]
    return one_line(message.get("content") or message.get("reasoning_content") or "")


def _read_chat(reply: Mapping[str, Any]) -> tuple[str, bool]:
    said = _said(reply)
    return said, "paris" in said.lower()


def _read_sql(reply: Mapping[str, Any]) -> tuple[str, bool]:
    said = _said(reply)
    return said, "select" in said.lower()


def _read_embeddings(reply: Mapping[str, Any]) -> tuple[str, bool]:
    cat, feline, stocks = (row["embedding"] for row in sorted(reply["data"], key=lambda row: row["index"]))
    near, far = cosine(cat, feline), cosine(cat, stocks)
    text = f"{len(cat)} numbers; cosine {near:.2f} to a paraphrase, {far:.2f} to something else"
    return text, near > far


def _read_rerank(reply: Mapping[str, Any]) -> tuple[str, bool]:
    rows = sorted(reply["results"], key=lambda row: -row["relevance_score"])
    first = rows[0]
    return f'first of {len(rows)}: "{_DOCUMENTS[first["index"]]}" {first["relevance_score"]:.2f}', first[
        "index"
    ] == 1


def _chat(question: str) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": _ANSWER_TOKENS,
        "temperature": 0,
    }


_Reader = Callable[[Mapping[str, Any]], tuple[str, bool]]
_TASKS: dict[str, tuple[str, str, dict[str, Any], _Reader]] = {
    "chat": (CAPITAL, "/v1/chat/completions", _chat(CAPITAL), _read_chat),
    "text2sql": (_SQL, "/v1/text2sql", _chat(_SQL), _read_sql),
    "embed": (
        f'how near is "{_SENTENCES[1]}" to "{_SENTENCES[0]}"?',
        "/v1/embeddings",
        {"input": list(_SENTENCES)},
        _read_embeddings,
    ),
    "rerank": (
        f"{CAPITAL} Which of {len(_DOCUMENTS)} documents says it?",
        "/v1/rerank",
        {"query": CAPITAL, "documents": list(_DOCUMENTS)},
        _read_rerank,
    ),
}
