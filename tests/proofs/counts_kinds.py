"""The kinds of requests of `make proof-counts`: how each is asked, and what its answer says of its end."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.proofs.http_client import Answer

Ended = tuple[str, str]
"""Outcome, reason."""
LIMITS: Final = (
    "requests_per_second",
    "tokens_per_minute",
    "in_flight",
    "requests_per_day",
    "tokens_per_day",
    "requests_per_month",
    "tokens_per_month",
)
"""A tenant of that name has that one limit, and reaches it when about half of its calls have come."""
TOKENS: Final = 25
"""Of a call of such a tenant."""

OK: Final[Ended] = ("ok", "")
GONE: Final[Ended] = ("client_gone", "client_closed_request")
TRUNCATED: Final[Ended] = ("upstream_truncated", "upstream_error")
IN_STREAM: Final[Ended] = ("upstream_error", "error_in_stream")
DEADLINE: Final[Ended] = ("upstream_timeout", "deadline")
IDLE: Final[Ended] = ("upstream_timeout", "timeout_body")
AWAY: Final[Ended] = ("refused", "quota_unavailable")
"""The store's word came too late: of any call, on a machine that is busy."""


class SurpriseError(Exception):
    """An answer that nobody has asked for."""


@dataclass(frozen=True)
class Kind:
    """One kind of request: how it is asked, and what its answer says of its end.

    `leaves`: "before" its answer, "within" it, or in the middle of the request ("asking").
    """

    name: str
    weight: int
    body: Callable[[random.Random], Any] = lambda _: None
    read: Callable[[Answer], Ended] | None = None
    path: str = "/v1/chat/completions"
    model: str = "chat"
    tenant: str = "plenty"
    method: str | None = None
    key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes = b""
    """In place of all that: no HTTP. It brings no id of ours."""
    leaves: str = ""
    counted: bool = True
    """The control plane's answers are in the log and in the trail, and no calls."""


def chat(model: str = "chat", **fields: Any) -> Callable[[random.Random], Any]:
    def make(chance: random.Random) -> Any:
        text = "x" * chance.randrange(1, 200)
        return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50, **fields}

    return make


def plain(chance: random.Random) -> Any:
    return chat(do={"tokens": chance.randrange(1, 30)})(chance)


def stream(chance: random.Random) -> Any:
    do = {"tokens": chance.randrange(1, 30), "token_ms": chance.choice((0, 0, 1))}
    return chat(stream=True, do=do, stream_options={"include_usage": True})(chance)


def embed(chance: random.Random) -> Any:
    number = chance.randrange(10 if chance.random() < 0.8 else 100_000)
    return {"model": "embed", "input": f"text {number}"}


def broken(model: str, fail: str, *, streamed: bool) -> Callable[[random.Random], Any]:
    return chat(model, stream=streamed, do={"fail": fail, "tokens": 9})


def answered(answer: Answer) -> Ended:
    """To its end, as it should be."""
    if answer.status != 200:
        raise SurpriseError
    if answer.headers["content-type"].startswith("text/event-stream"):
        if not answer.body.endswith(b"data: [DONE]\n\n"):
            raise SurpriseError
    elif b'"error"' in answer.body:
        raise SurpriseError
    return OK


def refused(*codes: str) -> Callable[[Answer], Ended]:
    """By the gateway, for one of these."""

    def read(answer: Answer) -> Ended:
        if answer.code not in codes:
            raise SurpriseError
        return "refused", str(answer.code)

    return read


def is_away(answer: Answer) -> bool:
    return answer.status == 503 and answer.code == AWAY[1]


def perhaps(*codes: str) -> Callable[[Answer], Ended]:
    """Answered, or refused for one of these."""
    no = refused(*codes)
    return lambda answer: answered(answer) if answer.status == 200 else no(answer)


def upstream(status: int, outcome: str) -> Callable[[Answer], Ended]:
    """The backend's own words come through."""

    def read(answer: Answer) -> Ended:
        if answer.status != status or json.loads(answer.body)["error"]["type"] != "x":
            raise SurpriseError
        return outcome, f"upstream_{status}"

    return read


def told(status: int, code: str, ended: Ended) -> Callable[[Answer], Ended]:
    """By the gateway of a backend: as a whole answer, or as the last event of a stream (status 200)."""

    def read(answer: Answer) -> Ended:
        last = answer.body
        if status == 200:
            *_, last, end = answer.body.split(b"\n\n")
            if end or not last.startswith(b"data: "):
                raise SurpriseError
            last = last.removeprefix(b"data: ")
        if answer.status != status or str(json.loads(last)["error"]["code"]) != code:
            raise SurpriseError
        return ended

    return read


LATE: Final = (("x-request-timeout", "0.15"),)
KINDS: Final = (
    Kind("plain", 250, plain, answered),
    Kind("stream", 200, stream, answered),
    Kind("cache", 120, embed, answered, path="/v1/embeddings", model="embed"),
    Kind("shared key", 40, plain, answered, tenant=""),
    *(
        Kind(code, 20, chat(do={"tokens": TOKENS - 5, "wait_ms": 60}), perhaps(code), tenant=code)
        for code in LIMITS
    ),
    Kind("model not allowed", 10, chat(), refused("model_not_allowed"), tenant="embeds"),
    Kind(
        "queue",
        50,
        chat("narrow", do={"wait_ms": 40}),
        perhaps("queue_timeout"),
        model="narrow",
        tenant="hasty",
    ),
    Kind("no backend", 10, chat("gone"), refused("no_healthy_backend", "model_loading"), model="gone"),
    Kind("JSON cut off", 15, lambda _: b'{"model": "chat", ', refused("invalid_request"), model="other"),
    Kind(
        "JSON twice", 5, lambda _: b'{"model": "a", "model": "b"}', refused("invalid_request"), model="other"
    ),
    Kind("types", 10, chat(temperature="hot"), refused("invalid_request"), model="other"),
    Kind("too long", 10, chat(max_tokens=10**6), refused("context_length_exceeded"), model="other"),
    Kind("unknown model", 15, chat("none"), refused("model_not_found"), model="other"),
    Kind("unknown path", 10, chat(), refused("not_found"), path="/nowhere", model="other", tenant=""),
    Kind("method", 10, lambda _: None, refused("method_not_allowed"), method="GET", model="other", tenant=""),
    Kind("wrong key", 15, chat(), refused("invalid_api_key"), key="wrong", model="other", tenant=""),
    Kind(
        "timeout that is none",
        5,
        chat(),
        refused("invalid_request"),
        headers=(("x-request-timeout", "soon"),),
        model="other",
    ),
    Kind("too large", 3, chat(pad="x" * 70_000), refused("body_too_large"), model="other"),
    Kind(
        "no HTTP",
        5,
        read=refused("invalid_request"),
        raw=b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        model="other",
        tenant="",
    ),
    Kind(
        "two hosts",
        5,
        read=refused("invalid_request"),
        raw=b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        model="other",
        tenant="",
    ),
    Kind(
        "long line",
        5,
        read=refused("uri_too_long"),
        raw=b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        model="other",
        tenant="",
    ),
    Kind("400", 15, broken("flaky", "400", streamed=False), upstream(400, "rejected"), model="flaky"),
    Kind("429", 15, broken("flaky", "429", streamed=False), upstream(429, "rejected"), model="flaky"),
    Kind("500", 15, broken("flaky", "500", streamed=False), upstream(500, "upstream_error"), model="flaky"),
    Kind("503", 15, broken("flaky", "503", streamed=True), upstream(503, "upstream_error"), model="flaky"),
    Kind(
        "reset",
        15,
        broken("flaky", "reset", streamed=False),
        told(502, "upstream_error", ("upstream_error", "upstream_head")),
        model="flaky",
    ),
    Kind(
        "truncated",
        15,
        broken("flaky", "reset mid", streamed=False),
        told(502, "upstream_error", TRUNCATED),
        model="flaky",
    ),
    Kind(
        "truncated stream",
        30,
        broken("flaky", "reset mid", streamed=True),
        told(200, "upstream_error", TRUNCATED),
        model="flaky",
    ),
    Kind(
        "error in stream",
        30,
        broken("flaky", "error mid", streamed=True),
        told(200, "500", IN_STREAM),
        model="flaky",
    ),
    Kind(
        "late",
        15,
        broken("flaky", "hang", streamed=False),
        told(504, "upstream_timeout", DEADLINE),
        headers=LATE,
        model="flaky",
    ),
    Kind(
        "late stream",
        15,
        broken("flaky", "hang mid", streamed=True),
        told(200, "upstream_timeout", DEADLINE),
        headers=LATE,
        model="flaky",
    ),
    Kind(
        "idle stream",
        5,
        broken("flaky", "hang mid", streamed=True),
        told(200, "upstream_timeout", IDLE),
        model="flaky",
    ),
    Kind("leaves before", 20, broken("flaky", "hang", streamed=False), leaves="before", model="flaky"),
    Kind("leaves stream", 20, broken("flaky", "hang mid", streamed=True), leaves="within", model="flaky"),
    Kind(
        "leaves queue",
        15,
        broken("narrow", "hang", streamed=False),
        leaves="before",
        model="narrow",
        tenant="patient",
    ),
    Kind("leaves asking", 10, chat(), leaves="asking", model="other"),
    Kind("models", 10, lambda _: None, path="/v1/models", counted=False),
    Kind("health", 10, lambda _: None, path="/health", counted=False),
)
NAMED: Final = (*LIMITS, "plenty", "hasty", "patient", "embeds")
NONE: Final = {"requests_per_second": "none", "in_flight": "none"}
