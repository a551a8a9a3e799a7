"""Calls as the OpenAI API and vLLM define them: body bytes -> Call. Sans-I/O.

Typed and bounded here: what a gateway acts on, or what is known to hurt an engine. Every other field passes
through untouched, as the body is never written anew: the model's name and `stream_options` are spliced.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final

import msgspec
import orjson

from gateway import strictjson
from gateway.asked import LONGEST, Asked, Call, Chat, Completion, Generation, Responses, Salted, StreamOptions
from gateway.catalog import PATHS, Catalog
from gateway.config import Model
from gateway.policy.reservation import tokens_max as tokens_most
from gateway.refusal import Refusal
from gateway.salt import Salt

PREFIX_BYTES: Final = 1024
"""About 256 tokens: longer ones that begin alike share most of their cache."""

_SHAPES: Final[dict[str, type[Asked]]] = {
    "/v1/chat/completions": Chat,
    "/v1/text2sql": Chat,
    "/v1/completions": Completion,
    "/v1/responses": Responses,
    "/v1/embeddings": Salted,
    "/v1/rerank": Salted,
    "/v1/score": Salted,
}
_REQUIRED: Final = {
    "/v1/chat/completions": ("messages",),
    "/v1/text2sql": ("messages",),
    "/v1/completions": ("prompt",),
    "/v1/responses": ("input",),
    "/v1/rerank": ("query", "documents"),
}
_UPSTREAM: Final = {path: path.encode() for path in PATHS} | {"/v1/text2sql": b"/v1/chat/completions"}
_FUNCTIONS: Final = frozenset(("/v1/embeddings", "/v1/rerank", "/v1/score"))
_WITH_USAGE: Final = {"include_usage": True, "continuous_usage_stats": True}
_WHERE: Final = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<path>.*)`$", re.DOTALL)


def read_call(path: str, body: bytes, catalog: Catalog, salt: Salt | None = None) -> Call:
    """`path`: one of catalog.PATHS. `salt`: the tenant's. Raises Refusal (400, 404)."""
    document = _document(path, body)
    value = document.value
    asked = _typed(value, _SHAPES.get(path, Asked))
    model = catalog.find(path, asked.model)
    changes: dict[str, Any] = {}
    if asked.model != model.served_name:
        changes["model"] = model.served_name
    field = b""
    if salt is not None and isinstance(asked, Salted):
        if "cache_salt" in value:
            changes["cache_salt"] = salt.mixed(asked.cache_salt)
        else:
            field = salt.field
    stream = wants_usage = running = False
    param, tokens_max = "", None
    if isinstance(asked, Generation):
        param, tokens_max = _tokens_asked(asked)
        stream = bool(asked.stream)
        if stream:
            options = asked.stream_options or StreamOptions()
            wants_usage = bool(options.include_usage)
            running = wants_usage and bool(options.continuous_usage_stats)
            if not running:
                changes["stream_options"] = (value.get("stream_options") or {}) | _WITH_USAGE
    elif isinstance(asked, Responses):
        if asked.background:
            message = "`background` is not served: a later request could not find its answer. Leave it out."
            raise Refusal(400, "unsupported_parameter", message, param="background")
        stream = bool(asked.stream)
        param, tokens_max = "max_output_tokens", asked.max_output_tokens
    _check_tokens(param, tokens_max, model)
    return Call(
        model=model,
        path=_UPSTREAM[path],
        body=document.put(changes, field) if changes or field else body,
        stream=stream,
        wants_usage=wants_usage,
        wants_running_usage=running,
        tokens_max=tokens_max,
        prefix=prefix_of(value) if catalog.prefixes else b"",
        digest=_digest(path, asked, value, model) if catalog.caches and not stream else None,
        bound=tokens_most(path, value, model.max_model_len) if catalog.counts else 0,
    )


def _document(path: str, body: bytes) -> strictjson.Document:
    try:
        document = strictjson.read(body)
    except strictjson.BadJson as bad:
        raise Refusal(400, "invalid_request", str(bad)) from None
    for name in _REQUIRED.get(path, ()):
        if name not in document.value:
            raise Refusal(400, "invalid_request", f"`{name}` is missing.", param=name)
    return document


def prefix_of(document: dict[str, Any]) -> bytes:
    """What tells prompts apart that an engine's prefix cache could share: up to the first message that is no
    system prompt, at most PREFIX_BYTES. Later turns of a conversation begin alike.
    """
    messages = document.get("messages")
    if isinstance(messages, list):
        count = next((n for n, each in enumerate(messages, 1) if _is_said(each)), len(messages))
        return orjson.dumps(messages[:count])[:PREFIX_BYTES]
    prompt = document.get("prompt") or document.get("input")
    return orjson.dumps(prompt)[:PREFIX_BYTES] if prompt else b""


def _digest(path: str, asked: Asked, value: dict[str, Any], model: Model) -> bytes | None:
    """The same for calls that say the same, however they write it. None: each answer may differ."""
    if isinstance(asked, Generation):
        if asked.temperature != 0 and asked.seed is None:
            return None
    elif path not in _FUNCTIONS:
        return None
    canonical = orjson.dumps(value | {"model": model.served_name}, option=orjson.OPT_SORT_KEYS)
    return sha256(b"%b\n%b" % (path.encode(), canonical)).digest()


def _is_said(message: Any) -> bool:
    return not (isinstance(message, dict) and message.get("role") in {"system", "developer"})


def _typed(value: dict[str, Any], shape: type[Asked]) -> Asked:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        whole = {name: _whole(item) for name, item in value.items()}
        if any(type(whole[name]) is not type(item) for name, item in value.items()):
            return _typed(whole, shape)
        match = _WHERE.match(str(error))
        what, path = (match["what"], match["path"]) if match else (str(error), "")
        message = f"`{path}`: {what[:1].lower()}{what[1:]}." if path else f"{what}."
        raise Refusal(400, "invalid_request", message, param=path or None) from None


def _whole(value: Any) -> Any:
    """16.0 is an integer to JSON Schema and to vLLM."""
    fits = type(value) is float and -LONGEST - 1 <= value < LONGEST and value.is_integer()
    return int(value) if fits else value


def _tokens_asked(asked: Generation) -> tuple[str, int | None]:
    if isinstance(asked, Chat) and asked.max_completion_tokens is not None:
        return "max_completion_tokens", asked.max_completion_tokens
    return "max_tokens", asked.max_tokens


def _check_tokens(param: str, tokens: int | None, model: Model) -> None:
    """Raises Refusal when no prompt, however short, could leave room for that many."""
    if tokens is not None and model.max_model_len is not None and tokens > model.max_model_len:
        message = (
            f"`{param}` is {tokens}; {model.name} holds {model.max_model_len} tokens, prompt and answer."
        )
        raise Refusal(400, "context_length_exceeded", message, param=param)
