"""Calls as the OpenAI API and vLLM define them: body bytes -> Call. Sans-I/O.

Typed and bounded here: what a gateway acts on, or what is known to hurt an engine. Every other field passes
through untouched, as the body is never written anew: the model's name and `stream_options` are spliced.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson

from gateway import strictjson
from gateway.catalog import PATHS, Catalog
from gateway.config import Model
from gateway.policy.reservation import tokens_max as tokens_most
from gateway.refusal import Refusal
from gateway.salt import Salt

NAME_CHARS: Final = 256
"""A longer model name is refused before it is looked up or repeated in a message."""

PREFIX_BYTES: Final = 1024
"""About 256 tokens: longer ones that begin alike share most of their cache."""

LONGEST: Final = 2**63 - 1
"""What engines keep whole numbers in: 64 bits."""

_Int = Annotated[int, msgspec.Meta(ge=-LONGEST - 1, le=LONGEST)]
_Tokens = Annotated[int, msgspec.Meta(ge=1, le=LONGEST)]
_Salt = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
_Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Message(msgspec.Struct):
    role: _Role


class _Any(msgspec.Struct):
    """What every call may carry."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS)] | None = None


class _Salted(_Any):
    """What an engine keeps prefixes of."""

    cache_salt: _Salt | None = None
    priority: _Int | None = None


class _Generation(_Salted):
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Tokens | None = None
    min_tokens: Annotated[int, msgspec.Meta(ge=0, le=LONGEST)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=16_384)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    seed: _Int | None = None
    logit_bias: dict[str, float] | None = None


class _Chat(_Generation):
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=list)
    max_completion_tokens: _Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=-1, le=LONGEST)] | None = None


class _Completion(_Generation):
    logprobs: Annotated[int, msgspec.Meta(ge=-1, le=LONGEST)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1, le=16_384)] | None = None


class _Responses(_Salted):
    """Its streams always end with the usage: there is nothing to ask for."""

    stream: bool | None = None
    background: bool | None = None
    max_output_tokens: _Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None


_SHAPES: Final[dict[str, type[_Any]]] = {
    "/v1/chat/completions": _Chat,
    "/v1/text2sql": _Chat,
    "/v1/completions": _Completion,
    "/v1/responses": _Responses,
    "/v1/embeddings": _Salted,
    "/v1/rerank": _Salted,
    "/v1/score": _Salted,
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


class Call(msgspec.Struct, frozen=True):
    """What the client asks, and what is sent for it."""

    model: Model
    path: bytes
    """Upstream."""
    body: bytes
    """Upstream."""
    stream: bool
    wants_usage: bool
    """The client itself asked for the usage at a stream's end."""
    wants_running_usage: bool
    """... and on each piece."""
    tokens_max: int | None
    """The longest answer it asks for."""
    prefix: bytes = b""
    """How the prompt begins, where the balancer asks for it."""
    digest: bytes | None = None
    """Of the call, where its answer depends on nothing else and answers are kept."""
    bound: int = 0
    """Tokens that it can use at most, prompts and answers, where somebody counts them."""


def read_call(path: str, body: bytes, catalog: Catalog, salt: Salt | None = None) -> Call:
    """`path`: one of catalog.PATHS. `salt`: the tenant's. Raises Refusal (400, 404)."""
    document = _document(path, body)
    value = document.value
    asked = _typed(value, _SHAPES.get(path, _Any))
    model = catalog.find(path, asked.model)
    changes: dict[str, Any] = {}
    if asked.model != model.served_name:
        changes["model"] = model.served_name
    field = b""
    if salt is not None and isinstance(asked, _Salted):
        if "cache_salt" in value:
            changes["cache_salt"] = salt.mixed(asked.cache_salt)
        else:
            field = salt.field
    stream = wants_usage = running = False
    param, tokens_max = "", None
    if isinstance(asked, _Generation):
        param, tokens_max = _tokens_asked(asked)
        stream = bool(asked.stream)
        if stream:
            options = asked.stream_options or StreamOptions()
            wants_usage = bool(options.include_usage)
            running = wants_usage and bool(options.continuous_usage_stats)
            if not running:
                changes["stream_options"] = (value.get("stream_options") or {}) | _WITH_USAGE
    elif isinstance(asked, _Responses):
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


def _digest(path: str, asked: _Any, value: dict[str, Any], model: Model) -> bytes | None:
    """The same for calls that say the same, however they write it. None: each answer may differ."""
    if isinstance(asked, _Generation):
        if asked.temperature != 0 and asked.seed is None:
            return None
    elif path not in _FUNCTIONS:
        return None
    canonical = orjson.dumps(value | {"model": model.served_name}, option=orjson.OPT_SORT_KEYS)
    return sha256(b"%b\n%b" % (path.encode(), canonical)).digest()


def _is_said(message: Any) -> bool:
    return not (isinstance(message, dict) and message.get("role") in {"system", "developer"})


def _typed(value: dict[str, Any], shape: type[_Any]) -> _Any:
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


def _tokens_asked(asked: _Generation) -> tuple[str, int | None]:
    if isinstance(asked, _Chat) and asked.max_completion_tokens is not None:
        return "max_completion_tokens", asked.max_completion_tokens
    return "max_tokens", asked.max_tokens


def _check_tokens(param: str, tokens: int | None, model: Model) -> None:
    """Raises Refusal when no prompt, however short, could leave room for that many."""
    if tokens is not None and model.max_model_len is not None and tokens > model.max_model_len:
        message = (
            f"`{param}` is {tokens}; {model.name} holds {model.max_model_len} tokens, prompt and answer."
        )
        raise Refusal(400, "context_length_exceeded", message, param=param)
