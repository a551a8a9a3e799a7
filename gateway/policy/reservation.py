"""How many tokens a call can use at most: what is reserved before it is sent. Pure.

The tokens of a text are at most the bytes of its UTF-8, as each token of a byte-level or byte-fallback
tokenizer stands for one byte at least. Where a tokenizer normalizes its text first (NFKC), a character may
become longer: the longer of both forms is taken. What a chat template adds is allowed for; what cannot be
bounded (images, a template of the client's own, an answer stored elsewhere) counts as the whole context.

With a prompt of at most p tokens, at most m tokens asked for, n answers and a context of c, the real prompt x
gives x + n * min(m, c - x) at most. That is largest at x = min(p, c - m), and falls or stays from there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any, Final

import orjson

CONTEXT: Final = 1_048_576
"""Tokens, where nobody knows the model's context: the longest that are served today."""
TEMPLATE_TOKENS: Final = 256
"""What a template adds once: a system prompt of its own, the answer's beginning."""
MESSAGE_TOKENS: Final = 16
"""... and around each message."""
TOOLS_TOKENS: Final = 512
"""... and where there are tools: how to call them."""
RENDERED: Final = 2
"""A template may write JSON with more blanks than it came with: this many times the bytes at most."""
PROMPT_TOKENS: Final = 8
"""Around a text without a template: beginning, end, separators."""
FREE: Final = frozenset(("/tokenize", "/detokenize"))

_UNBOUNDED: Final = frozenset(
    (
        "chat_template",
        "chat_template_kwargs",
        "prompt_embeds",
        "documents",
        "mm_processor_kwargs",
        "media_io_kwargs",
    )
)
_TEXT_PARTS: Final = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_COSTLY: Final = frozenset(("tools", "functions", "response_format", "tool_choice"))
"""A template writes them out for the model to read."""
_ODD: Final = _UNBOUNDED | _COSTLY
_PLAIN_FIELDS: Final = frozenset(("role", "content", "type", "name"))


def tokens_max(path: str, call: dict[str, Any], context: int | None, *, prompt: int | None = None) -> int:
    """Prompt and answers together. `call`: the parsed body, already typed by `openai.read_call`.

    `context`: the model's, in tokens; None: not known. `prompt`: its exact tokens, where they were counted.
    """
    limit = context or CONTEXT
    if path in FREE:
        return 0
    if path in {"/v1/chat/completions", "/v1/text2sql"}:
        longest = _chat(call, limit) if prompt is None else prompt
        asked = call.get("max_completion_tokens") or call.get("max_tokens")
        return _with_answers(longest, asked, _whole(call.get("n")), limit)
    if path == "/v1/completions":
        answers = max(_whole(call.get("n")), _whole(call.get("best_of")))
        prompts = [prompt] if prompt is not None else list(_prompts(call, limit))
        asked = call.get("max_tokens")
        return sum(_with_answers(one, asked, answers, limit) for one in prompts)
    if path == "/v1/responses":
        longest = _responses(call, limit) if prompt is None else prompt
        return _with_answers(longest, call.get("max_output_tokens"), 1, limit)
    if prompt is not None:
        return prompt
    if path == "/v1/embeddings":
        if "messages" in call:
            return _chat(call, limit)
        return sum(min(limit, one) for one in _texts(call.get("input"), limit))
    if path == "/v1/rerank":
        query = _text(call.get("query"), limit)
        return sum(min(limit, query + one) for one in _each(call.get("documents"), limit))
    return _score(call, limit)


def _with_answers(prompt: int, asked: Any, answers: int, context: int) -> int:
    """`asked`: the longest answer; None or 0: the rest of the context."""
    longest = min(asked, context) if isinstance(asked, int) and asked > 0 else context
    at = min(prompt, context - longest)
    return at + answers * min(longest, context - at)


def _chat(call: dict[str, Any], context: int) -> int:
    plain = _ODD.isdisjoint(call)  # nearly always: one look instead of two
    if not plain and not _UNBOUNDED.isdisjoint(call):
        return context
    messages = call.get("messages")
    if not isinstance(messages, list):
        return context
    total = TEMPLATE_TOKENS + MESSAGE_TOKENS * len(messages)
    for message in messages:
        said = _message(message)
        if said is None:
            return context
        total += said
    if not plain:
        for field in _COSTLY:
            value = call.get(field)
            if value is not None:
                total += TOOLS_TOKENS + RENDERED * _json(value)
    return min(context, total)


def _message(message: Any) -> int | None:
    """None: not to be bounded by its bytes."""
    if not isinstance(message, dict):
        return None
    content, role = message.get("content"), message.get("role")
    if len(message) == 2 and type(content) is str and type(role) is str:  # nearly all are
        return size(content) + size(role)
    total = _content(content)
    if total is None:
        return None
    for field, value in message.items():
        if field not in _PLAIN_FIELDS:
            total += RENDERED * _json(value)
        elif field != "content" and isinstance(value, str):
            total += size(value)
    return total


def _content(content: Any) -> int | None:
    """A text, parts, or nothing. None: a part that is no text."""
    if isinstance(content, str):
        return size(content)
    if not isinstance(content, list):
        return 0 if content is None else None
    total = 0
    for part in content:
        field = _TEXT_PARTS.get(str(part.get("type"))) if isinstance(part, dict) else None
        text = part if isinstance(part, str) else part.get(field) if field else None
        if not isinstance(text, str):
            return None
        total += size(text) + 1
    return total


def _responses(call: dict[str, Any], context: int) -> int:
    if call.get("previous_response_id") is not None or call.get("prompt") is not None:
        return context  # what it refers to lies elsewhere
    given = call.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if call.get("instructions") and (messages is None or isinstance(messages, list)):
        messages = [{"role": "system", "content": call["instructions"]}, *(messages or [])]
    shape = {
        name: value for name, value in call.items() if name in _UNBOUNDED or name in {"tools", "tool_choice"}
    }
    return _chat({**shape, "messages": messages}, context)


def _prompts(call: dict[str, Any], context: int) -> Iterator[int]:
    if "prompt_embeds" in call:
        yield context
        return
    suffix = call.get("suffix")
    more = size(suffix) if isinstance(suffix, str) else 0
    for one in _texts(call.get("prompt"), context):
        yield min(context, one + more)


def _texts(given: Any, context: int) -> Iterator[int]:
    """The tokens of each text: a text, several, one as token numbers, several as token numbers."""
    if isinstance(given, list) and given and all(type(one) is int for one in given):
        yield min(context, len(given) + PROMPT_TOKENS)
        return
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, list) and all(type(token) is int for token in one):
            yield min(context, len(one) + PROMPT_TOKENS)
        else:
            yield _text(one, context)


def _each(given: Any, context: int) -> list[int]:
    """Of rerank and score: texts, or documents with parts."""
    if isinstance(given, dict) and isinstance(given.get("content"), list):
        return [_text(part, context) for part in given["content"]] or [context]
    return [_text(one, context) for one in given] if isinstance(given, list) else [_text(given, context)]


def _text(one: Any, context: int) -> int:
    if isinstance(one, dict) and isinstance(one.get("text"), str) and one.keys() <= {"type", "text"}:
        one = one["text"]
    return min(context, size(one) + PROMPT_TOKENS) if isinstance(one, str) else context


def _score(call: dict[str, Any], context: int) -> int:
    """One with each of many, or pair by pair."""
    sides = []
    for names in (("text_1", "queries", "data_1"), ("text_2", "documents", "items", "data_2")):
        given = next((call[name] for name in names if name in call), None)
        sides.append(_each(given, context))
    left, right = sides
    if len(left) == len(right):
        pairs = [one + other for one, other in zip(left, right, strict=True)]
    else:
        pairs = [one + other for one in left for other in right]
    return sum(min(context, both) for both in pairs)


def size(text: str) -> int:
    """Bytes of the text as a tokenizer may see it."""
    if text.isascii():
        return len(text)
    raw = len(text.encode("utf-8", "surrogatepass"))
    if unicodedata.is_normalized("NFKC", text):
        return raw
    return max(raw, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))


def _json(value: Any) -> int:
    if isinstance(value, str):
        return size(value)
    return size(orjson.dumps(value).decode("utf-8", "surrogatepass"))


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1
