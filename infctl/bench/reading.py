"""Bytes of one answer, with their times -> how it ended. Sans-I/O: nothing here knows a socket or a clock.

Rule 1: what is not known to be whole is a failure. A stream is whole when it said a finish_reason and [DONE].
Rule 2: the first thing that is wrong decides the outcome; nothing later makes it good.
Rule 3: event streams are read as the standard says: comments, CRLF, `event:` lines, cuts anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.sse import DONE, Splitter, TooLong, data_of
from infctl.bench.record import EMPTY, OK, REASONING, TEXT

ERROR_BYTES_MAX = 64 * 1024
"""Of an answer other than 200; the rest is dropped."""
PLAIN_BYTES_MAX = 64 * 1024 * 1024
_SHOWN_CHARS = 300
_decode = msgspec.json.Decoder().decode


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    tool_calls: Any = None
    reasoning: Any = None
    reasoning_content: Any = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: Any = None
    finish_reason: Any = None


class _Event(msgspec.Struct, gc=False):
    """What is read of an event; nothing else of it is made into objects, logprobs least of all."""

    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    object: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode


class Reading:
    """One answer. `outcome` is None until something is known; `over` when no more need be read."""

    __slots__ = (
        "_body",
        "_exact",
        "_said_done",
        "_splitter",
        "_stream",
        "asked_out",
        "detail",
        "end_us",
        "finish",
        "first_byte_us",
        "outcome",
        "piece_tokens",
        "piece_us",
        "pieces",
        "request_id",
        "status",
        "tokens_cached",
        "tokens_in",
        "tokens_out",
    )

    def __init__(self, *, stream: bool, asked_out: int, exact: bool) -> None:
        self._stream = stream
        self._exact = exact
        self.asked_out = asked_out
        self._splitter = Splitter()
        self._body = bytearray()
        self._said_done = False
        self.outcome: str | None = None
        self.detail = ""
        self.status: int | None = None
        self.finish: str | None = None
        self.first_byte_us: int | None = None
        self.end_us: int | None = None
        self.piece_us: list[int] = []
        self.pieces: list[str] = []
        self.piece_tokens: list[int] = []
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self.tokens_cached: int | None = None
        self.request_id: str | None = None

    # What the connection tells, in this order.

    def head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = status
        for name, value in headers:
            if name == b"x-request-id":
                self.request_id = value.decode("latin-1")[:100]
            elif name == b"content-type" and status == 200 and self._stream:
                # An error may come as JSON where a stream was asked for.
                self._stream = not value.lstrip().lower().startswith(b"application/json")
        if status != 200:
            self._stream = False

    def body(self, data: bytes, now_us: int) -> None:
        if not self._stream:
            if len(self._body) < (PLAIN_BYTES_MAX if self.status == 200 else ERROR_BYTES_MAX):
                self._body += data
            return
        splitter = self._splitter
        if data[:6] == b"data: " and data[-2:] == b"\n\n" and splitter.between:
            only = data[6:-2]
            if b"\n" not in only and b"\r" not in only:
                self._event(only, now_us)  # one event: what nearly every read is
                return
        try:
            events = splitter.feed(data)
        except TooLong as error:
            self._fail("malformed", str(error), now_us)
            return
        for event in events:
            said = data_of(event)
            if said is not None:
                self._event(said, now_us)

    def end(self, now_us: int) -> None:
        """The HTTP answer is whole."""
        if self.status != 200:
            self._fail("http", _message(bytes(self._body)) or "no body", now_us)
        elif not self._stream:
            self._plain(now_us)
        elif not self._said_done:
            self._fail("truncated", "the stream ended without [DONE]", now_us)

    def cut(self, why: str, now_us: int) -> None:
        """The connection ended, or what came was no HTTP; what was whole before stays whole."""
        if self._said_done:
            return
        if self.first_byte_us is None:
            self._fail("refused", "closed without an answer", now_us)
        elif why.startswith("it "):
            self._fail("malformed", why, now_us)
        elif self.status is not None and self.status != 200:
            self._fail("http", _message(bytes(self._body)) or why, now_us)
        else:
            self._fail("truncated", why, now_us)

    def give_up(self, outcome: str, detail: str, now_us: int) -> None:
        """timeout, aborted, or a connection that was never made."""
        if not self._said_done:
            self._fail(outcome, detail, now_us)

    # Private

    def _event(self, said: bytes, now_us: int) -> None:
        if said == DONE:
            if not self._said_done:
                self._said_done = True
                self._judge(now_us)
            return
        if self._said_done:
            return
        try:
            event = _decode_event(said)
            if event.error is not None or event.object == "error":
                self._fail("in_band", _words(event.error or _decode(said)), now_us)
                return
            if event.choices:
                self._piece(event.choices[0], now_us)
            if event.usage is not None:
                self._usage(event.usage, of_piece=bool(event.choices))
        except msgspec.ValidationError:
            self._fail("malformed", f"an event other than the API says: {_shown(said)}", now_us)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._fail("malformed", f"an event that is not JSON: {_shown(said)}", now_us)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):
            self._fail("malformed", f"an event other than the API says: {_shown(said)}", now_us)

    def _piece(self, choice: _Choice, now_us: int) -> None:
        delta = choice.delta
        if delta is None:
            kind = TEXT if choice.text else EMPTY
        elif delta.content or delta.tool_calls:
            kind = TEXT
        else:
            kind = REASONING if delta.reasoning or delta.reasoning_content else EMPTY
        self.piece_us.append(now_us)
        self.pieces.append(kind)
        finish = choice.finish_reason
        if finish is not None:
            self.finish = str(finish)

    def _usage(self, usage: dict[str, Any], *, of_piece: bool = False) -> None:
        self.tokens_in = int(usage["prompt_tokens"] if "prompt_tokens" in usage else usage["total_tokens"])
        self.tokens_out = int(usage.get("completion_tokens") or 0)
        if of_piece:
            self.piece_tokens.append(self.tokens_out)
        details = usage.get("prompt_tokens_details")
        if details:
            self.tokens_cached = int(details.get("cached_tokens") or 0)

    def _plain(self, now_us: int) -> None:
        """A JSON answer: an embedding, a ranking, or a completion that was not streamed."""
        text = bytes(self._body)
        try:
            answer = _decode(text)
            error = answer.get("error")
            if error is not None or answer.get("object") == "error":
                self._fail("in_band", _words(error or answer), now_us)
                return
            choices = answer.get("choices")
            if choices:
                self.finish = str(choices[0].get("finish_reason"))
            elif not answer.get("data") and not answer.get("results"):
                self._fail("malformed", f"an answer with nothing in it: {_shown(text)}", now_us)
                return
            if answer.get("usage") is not None:
                self._usage(answer["usage"])
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._fail("malformed", f"an answer that is not JSON: {_shown(text)}", now_us)
            return
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):
            self._fail("malformed", f"an answer other than the API says: {_shown(text)}", now_us)
            return
        self._said_done = True
        self._judge(now_us)

    def _judge(self, now_us: int) -> None:
        """The end was said. Is it all there?"""
        if self.asked_out and self.finish in {None, "None"}:
            self._fail("truncated", "[DONE] without a finish_reason", now_us)
        elif self.finish in {"abort", "error"}:
            self._fail("in_band", f"finish_reason {self.finish}", now_us)
        elif self.asked_out and not self.tokens_out and all(kind == EMPTY for kind in self.pieces):
            self._fail("wrong_length", "not one piece with text", now_us)
        elif self._exact and self.tokens_out is not None and self.tokens_out != self.asked_out:
            said = f"{self.tokens_out} tokens, not {self.asked_out}: finish_reason {self.finish}"
            self._fail("wrong_length", said, now_us)
        elif self.outcome is None:
            self.outcome = OK
            self.end_us = now_us

    def _fail(self, outcome: str, detail: str, now_us: int) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.detail = detail[:_SHOWN_CHARS]
            self.end_us = now_us


def _message(body: bytes) -> str:
    """An error's own words, as OpenAI's API, vLLM or a plain proxy writes them."""
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _shown(body)
    return _words(answer.get("error", answer)) if isinstance(answer, dict) else _shown(body)


def _words(error: object) -> str:
    if isinstance(error, dict):
        return str(error.get("message") or error)[:_SHOWN_CHARS]
    return str(error)[:_SHOWN_CHARS]


def _shown(data: bytes) -> str:
    return " ".join(data[:120].decode("utf-8", "replace").split())
