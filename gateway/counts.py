"""How backends say what tokens they used. Values, and nothing else: see usage.py."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**48)]
"""A counter never goes down, and a scrape must be able to write it."""


class Details(msgspec.Struct, frozen=True):
    """Of a prompt's tokens; vLLM says it when it is started with --enable-prompt-tokens-details."""

    cached_tokens: _Tokens | None = None


class Counts(msgspec.Struct, frozen=True):
    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens | None = 0
    total_tokens: _Tokens = 0


class Usage(Counts, frozen=True):
    """Tokens."""

    prompt_tokens_details: Details | None = None

    @property
    def cached_tokens(self) -> int:
        details = self.prompt_tokens_details
        return 0 if details is None else min(details.cached_tokens or 0, self.prompt_tokens)


class OfResponses(msgspec.Struct):
    """The same in the words of /v1/responses."""

    input_tokens: _Tokens
    output_tokens: _Tokens
    total_tokens: _Tokens
    input_tokens_details: Details | None = None


class Piece(msgspec.Struct):
    usage: Usage | None = None
    choices: list[msgspec.Raw] | None = None


USAGE: Final = msgspec.json.Decoder(Usage)
COUNTS: Final = msgspec.json.Decoder(Counts)
OF_RESPONSES: Final = msgspec.json.Decoder(OfResponses)
PIECE: Final = msgspec.json.Decoder(Piece)
