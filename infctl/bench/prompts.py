"""Prompts and traces from a file: what was really asked, or when and how much of it. Parsing is pure.

    prompts   JSONL: {"prompt": "..."} or {"messages": [...]}, with or without max_tokens (or output_tokens)
              ShareGPT: a JSON list of {"conversations": [{"from": "human", "value": "..."}, ...]}
    traces    Mooncake JSONL: {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}
              BurstGPT CSV: Timestamp (s), Request tokens, Response tokens
              Azure CSV: TIMESTAMP (date and time), ContextTokens, GeneratedTokens

A line that is broken ends it, with its number. Lines are asked in order; behind the last comes the first.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infctl.bench.chance import Chance
from infctl.bench.lengths import LONGEST, Lengths
from infctl.bench.workload import PATHS, TEXT_WORDS, Ask, Text, numbered, tail

BLOCK_WORDS = 512
"""Of each of Mooncake's hash_ids: equal ids are equal words."""


@dataclass(frozen=True, slots=True)
class Prompt:
    messages: tuple[dict[str, Any], ...]
    tokens_out: int | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One line of a trace. `at_s`: after the first."""

    at_s: float
    tokens_in: int
    tokens_out: int
    blocks: tuple[int, ...] = ()


def read_prompts(text: str) -> list[Prompt]:
    """Raises ValueError with the number of the line, or of the conversation, that is broken."""
    found = []
    if text.lstrip().startswith("["):
        try:
            conversations = json.loads(text)
        except ValueError as error:
            raise ValueError(f"it is no JSON: {error}") from None
        for number, conversation in enumerate(conversations, 1):
            try:
                found.append(_shared(conversation))
            except (KeyError, TypeError, IndexError) as error:
                raise ValueError(f"conversation {number} is none of ShareGPT's: {_why(error)}") from None
    else:
        for number, line in _lines(text):
            try:
                found.append(_prompt(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"line {number} is no prompt: {_why(error)}") from None
    if not found:
        raise ValueError("it holds no prompt")
    return found


def read_trace(text: str) -> list[Arrival]:
    """Raises ValueError with the number of the line that is broken."""
    rows = list(_lines(text))
    if not rows:
        raise ValueError("it holds no line")
    number, line = rows[0]
    try:
        timed = [*_mooncake(rows)] if line.lstrip().startswith("{") else [*_table(rows)]
    except _BrokenLineError as error:
        raise ValueError(f"line {error.number} is broken: {error.why}") from None
    if not timed:
        raise ValueError(f"line {number} is a heading, and nothing follows")
    first = timed[0].at_s
    before = 0.0
    for (number, _), arrival in zip(rows[len(rows) - len(timed) :], timed, strict=True):
        if arrival.at_s - first < before:
            raise ValueError(f"line {number} is broken: it is earlier than the line before")
        before = arrival.at_s - first
    return [Arrival(row.at_s - first, row.tokens_in, row.tokens_out, row.blocks) for row in timed]


class _BrokenLineError(Exception):
    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number, self.why = number, why


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _why(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _prompt(line: dict[str, Any]) -> Prompt:
    messages = line["messages"] if "messages" in line else [{"role": "user", "content": line["prompt"]}]
    if not isinstance(messages, list) or not all(
        isinstance(message.get("content"), str) for message in messages
    ):
        raise TypeError("messages is a list of role and content")
    tokens = line.get("max_tokens", line.get("output_tokens"))
    return Prompt(tuple(messages), None if tokens is None else _count(tokens))


def _shared(conversation: dict[str, Any]) -> Prompt:
    turns = conversation["conversations"]
    asked = next(
        turn["value"] for turn in [*turns, {"from": "human", "value": ""}] if turn["from"] == "human"
    )
    if not isinstance(asked, str) or not asked:
        raise TypeError("nobody asks anything")
    return Prompt(({"role": "user", "content": asked},), None)


def _count(value: Any) -> int:
    count = int(value)
    if not 0 < count <= LONGEST:
        raise ValueError(f"{value} tokens")
    return count


def _mooncake(rows: Sequence[tuple[int, str]]) -> Iterator[Arrival]:
    for number, line in rows:
        try:
            row = json.loads(line)
            blocks = tuple(int(block) for block in row.get("hash_ids", ()))
            yield Arrival(
                float(row["timestamp"]) / 1000,
                _count(row["input_length"]),
                _count(row["output_length"]),
                blocks,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _BrokenLineError(number, _why(error)) from None


_COLUMNS = (
    ("Timestamp", "Request tokens", "Response tokens"),
    ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
)


def _table(rows: Sequence[tuple[int, str]]) -> Iterator[Arrival]:
    heading = [name.strip() for name in next(csv.reader([rows[0][1]]))]
    names = next((names for names in _COLUMNS if set(names) <= set(heading)), None)
    if names is None:
        known = " or ".join(", ".join(one) for one in _COLUMNS)
        raise _BrokenLineError(rows[0][0], f"its heading has none of: {known}")
    places = [heading.index(name) for name in names]
    for number, line in rows[1:]:
        cells = next(csv.reader([line]))
        try:
            at, asked, answered = (cells[place].strip() for place in places)
            # BurstGPT writes 0 for answers that failed: one token is the least that can be asked for.
            yield Arrival(_seconds(at), _count(asked), max(1, int(answered)))
        except (ValueError, IndexError) as error:
            raise _BrokenLineError(number, str(error)) from None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text[:26]).replace(tzinfo=None).timestamp()


class FromFile:
    """The prompts of a file, for chat; `lengths_out` where a line does not say."""

    stream = True
    path = PATHS["chat"]

    def __init__(
        self,
        model: str,
        seed: int,
        prompts: Sequence[Prompt],
        lengths_out: Lengths,
        *,
        exact: bool,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.exact = exact
        self._seed, self._prompts, self._out = seed, prompts, lengths_out
        self._head = f'{{"model":{json.dumps(model)},"messages":'
        self._tail = tail(exact=exact, extra=extra)

    def ask(self, index: int) -> Ask:
        prompt = self._prompts[index % len(self._prompts)]
        asked = prompt.tokens_out or self._out.draw(Chance(self._seed, "request", index))
        messages = json.dumps(prompt.messages, ensure_ascii=False, separators=(",", ":"))
        words = sum(len(str(message["content"]).split()) for message in prompt.messages)
        body = f'{self._head}{messages},"max_tokens":{asked}{self._tail}'
        return Ask(index, body.encode(), words, asked)


class Replay:
    """As much as each line of a trace says, in made-up words; equal blocks of a trace have equal words."""

    stream = True

    def __init__(
        self,
        kind: str,
        model: str,
        seed: int,
        trace: Sequence[Arrival],
        *,
        exact: bool,
        salt: str = "",
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.path = PATHS[kind]
        self.exact = exact
        self._trace = trace
        self._text = Text(seed, salt)
        start = '"messages":[{"role":"user","content":"' if kind == "chat" else '"prompt":"'
        self._head = f'{{"model":{json.dumps(model)},{start}'
        self._middle = '"}],"max_tokens":' if kind == "chat" else '","max_tokens":'
        self._tail = tail(exact=exact, extra=extra)

    def ask(self, index: int) -> Ask:
        row = self._trace[index % len(self._trace)]
        words: list[str] = []
        for block in row.blocks:
            words += [
                *numbered(block).split(" "),
                *self._text.words(block * 7919, BLOCK_WORDS - 3).split(" "),
            ]
        if not words:
            words = numbered(index).split(" ")
        missing = row.tokens_in - len(words)
        if missing > 0:
            words += self._text.words(index * 7919 % TEXT_WORDS, missing).split(" ")
        prompt = " ".join(words[: row.tokens_in])
        body = f"{self._head}{prompt}{self._middle}{row.tokens_out}{self._tail}"
        return Ask(index, body.encode(), row.tokens_in, row.tokens_out)
