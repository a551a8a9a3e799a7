"""What is asked: request i of a seed has the same body, to the byte, in every run. Pure.

Prompts have no beginning in common, so that no server finds them in its prefix cache: the first three words
spell the request's number in base 256, the rest is a slice of a long shuffled text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from infctl.bench.chance import Chance
from infctl.bench.lengths import Lengths
from infctl.bench.words import WORDS

_TEXT_WORDS = 16_384
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `asked_in`: words of the prompt, each a token for most tokenizers, and a chat template's
    on top. `asked_out`: tokens to generate; 0: nothing is generated.
    """

    index: int
    body: bytes
    asked_in: int
    asked_out: int


class Workload(Protocol):
    @property
    def path(self) -> str:
        """Of the URL."""

    @property
    def stream(self) -> bool:
        """The answer is an event stream."""

    @property
    def exact(self) -> bool:
        """The server was told to generate `asked_out` tokens, no fewer: another number is a failure."""

    def ask(self, index: int) -> Ask: ...


class Text:
    """A long text of WORDS, the same for the same seed and salt; slices of it cost nothing to make."""

    def __init__(self, seed: int, salt: str = "") -> None:
        chance = Chance(seed, "text", salt)
        drawn = [WORDS[chance.below(256)] for _ in range(_TEXT_WORDS)]
        self._text = " ".join(drawn)
        ends = [0]
        for word in drawn:
            ends.append(ends[-1] + len(word) + 1)
        self._ends = ends

    def words(self, start: int, count: int) -> str:
        """`count` words from word `start` on; behind the last comes the first."""
        parts = []
        while count > 0:
            start %= _TEXT_WORDS
            taken = min(count, _TEXT_WORDS - start)
            parts.append(self._text[self._ends[start] : self._ends[start + taken] - 1])
            start, count = start + taken, count - taken
        return " ".join(parts)


def numbered(index: int) -> str:
    """Three words that no other request begins with (of 16.7 million)."""
    return f"{WORDS[index & 255]} {WORDS[index >> 8 & 255]} {WORDS[index >> 16 & 255]}"


class Synthetic:
    """Prompts and answers of drawn lengths, for `chat` or `completions`."""

    stream = True

    def __init__(
        self,
        kind: str,
        model: str,
        seed: int,
        lengths_in: Lengths,
        lengths_out: Lengths,
        *,
        exact: bool = True,
        salt: str = "",
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.path = PATHS[kind]
        self.exact = exact
        self._seed, self._in, self._out = seed, lengths_in, lengths_out
        self._text = Text(seed, salt)
        shown = json.dumps(model)
        start = '"messages":[{"role":"user","content":"' if kind == "chat" else '"prompt":"'
        self._head = f'{{"model":{shown},{start}'
        self._middle = '"}],"max_tokens":' if kind == "chat" else '","max_tokens":'
        more: dict[str, Any] = {
            "temperature": 0,
            **({"ignore_eos": True} if exact else {}),
            "stream": True,
            "stream_options": {"include_usage": True},
            **(extra or {}),
        }
        self._tail = "," + json.dumps(more, separators=(",", ":"))[1:]

    def ask(self, index: int) -> Ask:
        chance = Chance(self._seed, "request", index)
        asked_in, asked_out = self._in.draw(chance), self._out.draw(chance)
        words = numbered(index).split(" ")[:asked_in]
        rest = self._text.words(chance.below(_TEXT_WORDS), asked_in - len(words))
        prompt = " ".join([*words, rest] if rest else words)
        body = f"{self._head}{prompt}{self._middle}{asked_out}{self._tail}"
        return Ask(index, body.encode(), asked_in, asked_out)
