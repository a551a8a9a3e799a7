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

TEXT_WORDS = 16_384
_USER, _ASSISTANT, _CLOSE = '{"role":"user","content":"', '{"role":"assistant","content":"', '"}'
CONVERSATIONS = 64
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
        drawn = [WORDS[chance.below(256)] for _ in range(TEXT_WORDS)]
        self._text = " ".join(drawn)
        ends = [0]
        for word in drawn:
            ends.append(ends[-1] + len(word) + 1)
        self._ends = ends

    def words(self, start: int, count: int) -> str:
        """`count` words from word `start` on; behind the last comes the first."""
        parts = []
        while count > 0:
            start %= TEXT_WORDS
            taken = min(count, TEXT_WORDS - start)
            parts.append(self._text[self._ends[start] : self._ends[start + taken] - 1])
            start, count = start + taken, count - taken
        return " ".join(parts)


def numbered(index: int) -> str:
    """Three words that no other request begins with (of 16.7 million)."""
    return f"{WORDS[index & 255]} {WORDS[index >> 8 & 255]} {WORDS[index >> 16 & 255]}"


CHUNK_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
"""For a body: vLLM then tells with each piece how many tokens it has generated."""


def tail(*, exact: bool, extra: dict[str, Any] | None = None) -> str:
    """What follows max_tokens in a body that asks for a stream."""
    more: dict[str, Any] = {
        "temperature": 0,
        **({"ignore_eos": True} if exact else {}),
        "stream": True,
        "stream_options": {"include_usage": True},
        **(extra or {}),
    }
    return "," + json.dumps(more, separators=(",", ":"))[1:]


@dataclass(frozen=True, slots=True)
class Prefix:
    """`count` different beginnings of `words` words each: request i has the one that is drawn for it."""

    count: int
    words: int


def read_prefix(text: str) -> Prefix:
    """From `4x512`: four of 512 words. Raises ValueError."""
    count, _, words = text.partition("x")
    if not (
        count.isdecimal() and words.isdecimal() and 0 < int(count) <= 65_536 and 3 <= int(words) <= TEXT_WORDS
    ):
        raise ValueError(f"{text!r} is no set of prefixes: 4x512 is four of 512 words")
    return Prefix(int(count), int(words))


class Synthetic:
    """Prompts and answers of drawn lengths, for `chat` or `completions`.

    `turns` > 1, for chat: conversations. A turn has all that was said before it, with made-up answers of as
    many words as were asked for, so that no prompt depends on what the server said. The turns of a
    conversation are CONVERSATIONS requests apart.
    """

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
        prefix: Prefix | None = None,
        turns: int = 1,
    ) -> None:
        self.path = PATHS[kind]
        self.exact = exact
        self._seed, self._in, self._out = seed, lengths_in, lengths_out
        self._text = Text(seed, salt)
        self._prefix, self._turns = prefix, turns
        shown = json.dumps(model)
        start = '"messages":[' if kind == "chat" else '"prompt":"'
        self._head = f'{{"model":{shown},{start}'
        self._user, self._close = (_USER, _CLOSE) if kind == "chat" else ("", "")
        self._middle = '],"max_tokens":' if kind == "chat" else '","max_tokens":'
        self._tail = tail(exact=exact, extra=extra)

    def ask(self, index: int) -> Ask:
        if self._turns == 1:
            prompt, asked_in, asked_out = self._turn(index)
        else:
            prompt, asked_in, asked_out = self._conversation(index)
        body = f"{self._head}{prompt}{self._middle}{asked_out}{self._tail}"
        return Ask(index, body.encode(), asked_in, asked_out)

    def _turn(self, index: int, *, prefixed: bool = True) -> tuple[str, int, int]:
        chance = Chance(self._seed, "request", index)
        asked_in, asked_out = self._in.draw(chance), self._out.draw(chance)
        words = numbered(index).split(" ")[:asked_in]
        rest = self._text.words(chance.below(TEXT_WORDS), asked_in - len(words))
        if self._prefix is not None and prefixed:
            which = chance.below(self._prefix.count)
            shared = self._text.words(which * 7919, self._prefix.words - 3)
            words = [*numbered(which).split(" "), *([shared] if shared else []), *words]
            asked_in += self._prefix.words
        said = " ".join([*words, rest] if rest else words)
        return f"{self._user}{said}{self._close}", asked_in, asked_out

    def _conversation(self, index: int) -> tuple[str, int, int]:
        block, place = divmod(index, CONVERSATIONS * self._turns)
        turn, conversation = divmod(place, CONVERSATIONS)
        said: list[str] = []
        words = 0
        for number in range(turn + 1):
            # Each turn has a number of its own: its words are the same in each later turn.
            own = (block * CONVERSATIONS + conversation) * self._turns + number
            text, asked_in, asked_out = self._turn(own, prefixed=number == 0)
            said.append(text)
            words += asked_in
            if number < turn:
                said.append(f"{_ASSISTANT}{self._text.words(own * 7919, asked_out)}{_CLOSE}")
                words += asked_out
        return ",".join(said), words, asked_out
