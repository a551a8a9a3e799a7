"""What was put down of a request -> its spans, as plain values. Pure.

    server    POST /v1/chat/completions     of the client's span, or the trace's first
      queue   queue                         each wait for a place or a turn
      client  chat qwen                     each attempt at a backend; vLLM's own span is its child

Attributes: OpenTelemetry's conventions for HTTP and for generative AI, vLLM's name for the time to the first
token, and our own under `infctl.`. Source: github.com/open-telemetry/semantic-conventions-genai.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from gateway.trace import LEFT, Attempt, Finished, Wait

Value = str | int | float | bool
Attributes = dict[str, Value]
Role = Literal["server", "client", "internal"]

OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/text2sql": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "rerank",
    "/v1/score": "score",
    "/tokenize": "tokenize",
    "/detokenize": "detokenize",
}
"""Path -> gen_ai.operation.name; the last four are in no convention."""
_FAULTS: Final = frozenset(("upstream_error", "upstream_truncated", "upstream_timeout", "failed", "cut"))
_LEFT: Final = "client_gone"


class Span(msgspec.Struct, frozen=True):
    """Times in nanoseconds since 1970; ids in hex."""

    name: str
    role: Role
    trace_id: str
    span_id: str
    parent_id: str | None
    began_ns: int
    ended_ns: int
    attributes: Attributes
    failed: bool = False
    why: str = ""


def spans(of: Finished) -> Iterator[Span]:
    """The server's first."""
    yield _server(of)
    for number, wait in enumerate(of.trace.waits):
        yield _wait(of, wait, _derived(of.trace.span_id, number))
    for number, attempt in enumerate(of.trace.attempts):
        yield _attempt(of, attempt, number)


def _server(of: Finished) -> Span:
    attributes: Attributes = {
        "http.request.method": of.method,
        "http.route": of.path,
        "url.path": of.path,
        "url.scheme": "http",
        "infctl.request_id": of.request_id,
        "infctl.outcome": of.outcome,
        "infctl.attempts": len(of.trace.attempts),
        "infctl.stream": of.stream,
        **_model(of),
    }
    if of.status:
        attributes["http.response.status_code"] = of.status
    for name, value in (("tenant", of.tenant), ("backend", of.backend), ("cache", of.cache)):
        if value is not None:
            attributes[f"infctl.{name}"] = value
    if of.reason:
        attributes["error.type"] = of.reason
    if of.tokens is not None:
        prompt, cached, answer = of.tokens
        attributes |= {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": answer}
        if cached:
            attributes["gen_ai.usage.cache_read.input_tokens"] = cached
    if of.first_at is not None:
        attributes["gen_ai.latency.time_to_first_token"] = round(of.first_at - of.began_at, 6)
    failed = of.outcome in _FAULTS or of.status >= 500
    trace = of.trace
    return Span(
        f"{of.method} {of.path}", "server", trace.trace_id, trace.span_id, trace.parent_id,
        _ns(of, of.began_at), _ns(of, of.at), attributes, failed, of.reason if failed else "",
    )  # fmt: skip


def _wait(of: Finished, wait: Wait, span_id: str) -> Span:
    return Span(
        "queue", "internal", of.trace.trace_id, span_id, of.trace.span_id,
        _ns(of, wait.began_at), _ns(of, wait.ended_at), {"infctl.wait": wait.what, **_model(of)},
    )  # fmt: skip


def _attempt(of: Finished, attempt: Attempt, number: int) -> Span:
    last = not attempt.ended_at
    why = attempt.why or (of.reason if last and of.outcome in _FAULTS | {_LEFT, "rejected"} else "")
    attributes: Attributes = {
        "gen_ai.provider.name": "vllm",
        "server.address": attempt.host,
        "server.port": attempt.port,
        "infctl.backend": attempt.backend,
        **_model(of),
    }
    if number:
        attributes["http.request.resend_count"] = number
    if attempt.status:
        attributes["http.response.status_code"] = attempt.status
    if why:
        attributes["error.type"] = why
    left = attempt.why == LEFT or (last and of.outcome == _LEFT)
    operation = attributes.get("gen_ai.operation.name", "call")
    return Span(
        f"{operation} {of.model}", "client", of.trace.trace_id, attempt.span_id, of.trace.span_id,
        _ns(of, attempt.began_at), _ns(of, attempt.ended_at or of.at), attributes,
        bool(why) and not left, "" if left else why,
    )  # fmt: skip


def _model(of: Finished) -> Attributes:
    found: Attributes = {}
    if (operation := OPERATIONS.get(of.path)) is not None:
        found["gen_ai.operation.name"] = operation
    if of.model is not None:
        found["gen_ai.request.model"] = of.model
    return found


def _ns(of: Finished, at: float) -> int:
    return of.wall_ns - round((of.at - at) * 1e9)


def _derived(span_id: str, number: int) -> str:
    """For a span that nobody had to know while it ran: of the same random bits, one of them turned."""
    return f"{(int(span_id, 16) ^ (1 << (number % 60))) or 1:016x}"
