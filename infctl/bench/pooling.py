"""Requests that generate nothing: embeddings and rerank. Pure."""

from __future__ import annotations

import json

from infctl.bench.chance import Chance
from infctl.bench.lengths import Lengths
from infctl.bench.workload import TEXT_WORDS, Ask, Text, numbered

PATHS = {"embeddings": "/v1/embeddings", "rerank": "/v1/rerank"}
DOCUMENTS = 8
"""Of a rerank request, each with words of its own; the query has a quarter of them, at most 32."""


class Pooling:
    stream = False
    exact = False

    def __init__(self, kind: str, model: str, seed: int, lengths_in: Lengths, *, salt: str = "") -> None:
        self.path = PATHS[kind]
        self._rerank = kind == "rerank"
        self._model, self._seed, self._in = model, seed, lengths_in
        self._text = Text(seed, salt)

    def ask(self, index: int) -> Ask:
        chance = Chance(self._seed, "request", index)
        words = self._in.draw(chance)
        start = chance.below(TEXT_WORDS)
        if not self._rerank:
            text = self._words(numbered(index), start, words)
            return self._made(index, {"model": self._model, "input": text}, words)
        short = min(32, max(1, words // 4))
        query = self._words(numbered(index), start, short)
        documents = [
            self._words(numbered(index * DOCUMENTS + number), start + number * words, words)
            for number in range(DOCUMENTS)
        ]
        body: dict[str, object] = {"model": self._model, "query": query, "documents": documents}
        return self._made(index, body, short + DOCUMENTS * words)

    def _words(self, head: str, start: int, count: int) -> str:
        first = head.split(" ")[:count]
        rest = self._text.words(start, count - len(first))
        return " ".join([*first, rest] if rest else first)

    def _made(self, index: int, body: dict[str, object], words: int) -> Ask:
        return Ask(index, json.dumps(body, separators=(",", ":")).encode(), words, 0)
