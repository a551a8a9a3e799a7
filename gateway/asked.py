"""What a call may say, typed and bounded, and what becomes of it. Values, and nothing else: see openai.py.

Field by field as OpenAI's API reference and vLLM's protocol files have them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from gateway.config import Model

NAME_CHARS: Final = 256
"""A longer model name is refused before it is looked up or repeated in a message."""

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


class Asked(msgspec.Struct):
    """What every call may carry."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS)] | None = None


class Salted(Asked):
    """What an engine keeps prefixes of."""

    cache_salt: _Salt | None = None
    priority: _Int | None = None


class Generation(Salted):
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


class Chat(Generation):
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=list)
    max_completion_tokens: _Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=-1, le=LONGEST)] | None = None


class Completion(Generation):
    logprobs: Annotated[int, msgspec.Meta(ge=-1, le=LONGEST)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1, le=16_384)] | None = None


class Responses(Salted):
    """Its streams always end with the usage: there is nothing to ask for."""

    stream: bool | None = None
    background: bool | None = None
    max_output_tokens: _Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None


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
