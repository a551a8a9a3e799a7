"""What we accept, the server behind reads the same way: uvicorn with h11 or httptools, FastAPI, json.

    any bytes -> our reader accepts a request -> uvicorn reads no other method, target or body out of them
    a request -> what `client` sends for it   -> uvicorn and FastAPI read our path, our body, our model
    any body  -> our reader accepts it        -> json and pydantic read the values that we read

The bytes are valid requests and bodies with something done to them; where uvicorn refuses what we accept,
nobody disagrees about what it means.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h11
import pydantic_core
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway import config
from gateway.catalog import Catalog
from gateway.client import Client
from gateway.config import HttpLimits, Timeouts, Upstream
from gateway.openai import Call, read_call
from gateway.refusal import Refusal
from gateway.wire.request import END, Refused, RequestHead, RequestReader
from tests.examples import examples

PATH = "/v1/chat/completions"
READERS = ("h11", "httptools")
CATALOG = Catalog(
    config.parse(
        {
            "models": [
                {
                    "name": "chat",
                    "served_name": "served",
                    "aliases": ["qwen"],
                    "tasks": ["chat"],
                    "backends": [{"id": "chat0", "url": "http://127.0.0.1:1"}],
                }
            ]
        }
    )
)


# Their side.


class Asked(BaseModel):
    """As vLLM's ChatCompletionRequest: what is not known is kept."""

    model_config = ConfigDict(extra="allow")
    messages: list[dict[str, Any]]
    model: str | None = None
    stream: bool | None = False
    max_tokens: int | None = None
    n: int | None = 1
    temperature: float | None = None


@dataclass
class Read:
    """One request, as uvicorn and FastAPI read it."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    asked: Asked | None = None


class Wire(asyncio.Transport):
    """Takes what the server says."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.said += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)}.get(name, default)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_protocol(self, protocol: Any) -> None:
        pass


class Uvicorn:
    """One of its readers, with a FastAPI app behind it."""

    def __init__(self, reader: str) -> None:
        self.found: list[Read] = []
        self._runner = asyncio.Runner()
        self.api = FastAPI()
        self.api.post(PATH)(self._chat)
        self.config = Config(
            self._app,
            http=reader,
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            log_config=None,
            access_log=False,
        )
        self.config.load()

    async def _chat(self, asked: Asked) -> dict[str, Any]:
        self.found[-1].asked = asked
        return {}

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # it never was a whole request
            body += message["body"]
            if not message["more_body"]:
                break
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        self.found.append(Read(scope["method"].encode(), target, list(scope["headers"]), body))

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        await self.api(scope, again, send)

    def read(self, data: bytes) -> list[Read]:
        """What it makes of the bytes of one connection."""
        return self._runner.run(self._read(data))

    def close(self) -> None:
        self._runner.close()

    async def _read(self, data: bytes) -> list[Read]:
        self.found = []
        state, wire = ServerState(), Wire()
        protocol: Any = self.config.http_protocol_class
        protocol = protocol(
            config=self.config, server_state=state, app_state={}, _loop=asyncio.get_running_loop()
        )
        protocol.connection_made(wire)
        with contextlib.suppress(h11.LocalProtocolError):  # at its own 400 to a HEAD
            protocol.data_received(data)
        for _ in range(200):
            if not state.tasks:
                break
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        await asyncio.gather(*state.tasks)
        return self.found


@pytest.fixture(scope="module", params=READERS)
def uvicorn(request: Any) -> Iterator[Uvicorn]:
    made = Uvicorn(request.param)
    yield made
    made.close()


# Our side.


def accepted(data: bytes) -> tuple[list[tuple[RequestHead, bytes]], bool]:
    """The whole requests that we read out of one connection's bytes; True: then something was refused."""
    reader, found = RequestReader(HttpLimits()), []
    events = reader.feed(data)
    head, body = None, b""
    while events:
        for event in events:
            if isinstance(event, Refused):
                return found, True
            if isinstance(event, RequestHead):
                head, body = event, b""
            elif isinstance(event, bytes):
                body += event
        if events[-1] is not END:
            break
        assert head is not None
        found.append((head, body))
        if not head.keep_alive:
            break
        events = reader.resume()
    return found, False


class _Pool:
    def __init__(self) -> None:
        self.sent = b""

    def send(self, data: bytes, **_: Any) -> None:
        self.sent = data


def sent_for(head: RequestHead, call: Call) -> bytes:
    client, pool = Client(Upstream(), Timeouts()), _Pool()
    client.configure(Upstream(), Timeouts(), b"authorization: Bearer k\r\n")
    client._pool = lambda _: pool  # type: ignore[method-assign, assignment, return-value]
    backend: Any = type("Backend", (), {"host": "127.0.0.1", "port": 1, "id": "chat0"})()
    client.send(backend, call, head, "req_1", 1.0)
    return pool.sent


# What is sent.

BODY = b'{"model":"chat","messages":[{"role":"user","content":"x"}]}'
NASTY_LINES = (
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding : chunked",
    b"Content-Length: 5",
    b"Content-Length: +5",
    b"Content_Length: 5",
    b"Content-Length:\t5",
    b" folded",
    b"X: a\rb",
    b"X: \x00",
    b"Accept: a, b",
    b"Accept: \xff\xfe",
    b"Accept:",
    b"Traceparent: 00-\x7f",
    b"Connection: close",
    b"Connection: keep-alive, upgrade",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"Host: other",
    b": empty",
)
NASTY_TARGETS = (
    b"/v1/x?y=1",
    b"//v1/x",
    b"/v1/../x",
    b"/%76%31",
    b"http://a/v1/x",
    b"/v1/x#f",
    b"*",
    b"/\xc3\xa4",
)
NASTY_CHUNKS = (
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"05;a=b\r\nhello\r\n",
    b"5\nhello\r\n",
    b"5 \r\nhello\r\n",
    b"0\r\nX: y\r\n\r\n",
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One request, with something done to it."""
    method = draw(st.sampled_from((b"POST", b"GET", b"PUT", b"HEAD")))
    target = draw(st.just(PATH.encode()) | st.sampled_from(NASTY_TARGETS))
    version = draw(st.sampled_from((b"1.1", b"1.1", b"1.1", b"1.0")))
    body = draw(st.sampled_from((BODY, b"", b"hello")))
    lines = [b"Host: a", *draw(st.just([]) | st.lists(st.sampled_from(NASTY_LINES), max_size=2))]
    if draw(st.booleans()) and version == b"1.1":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(
            (b"%x\r\n%b\r\n" % (len(body), body) if body else b"", draw(st.sampled_from(NASTY_CHUNKS)))
        )
        body += draw(st.sampled_from((b"", b"0\r\n\r\n")))
    else:
        lines.append(b"Content-Length: %d" % len(body))
    lines = draw(st.permutations(lines))
    return b"%b %b HTTP/%b\r\n%b\r\n\r\n%b" % (method, target, version, b"\r\n".join(lines), body)


DIRT = st.sampled_from((b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\0", b":", b";", b"0", b"\xff", b"\x0b"))
DAMAGE = st.just([]) | st.lists(st.tuples(st.integers(0, 500), st.integers(0, 2), DIRT), max_size=1)


def damaged(data: bytes, damage: list[tuple[int, int, bytes]]) -> bytes:
    for at, cut, dirt in damage:
        at %= len(data) + 1  # noqa: PLW2901
        data = data[:at] + dirt + data[at + cut :]
    return data


@given(st.lists(messages(), min_size=1, max_size=2), DAMAGE)
@settings(max_examples=examples(120), deadline=None)
def test_out_of_what_we_accept_uvicorn_reads_no_other_request(uvicorn, found, damage):
    data = damaged(b"".join(found), damage)
    ours, refused = accepted(data)
    theirs = uvicorn.read(data)
    for (head, body), read in zip(ours, theirs, strict=False):
        target = head.path + (b"?" + head.query if head.query else b"")
        assert (read.method, read.body) == (head.method, body)
        assert read.target in {target, b"http://a" + target}
    assert refused or len(theirs) <= len(ours)


HEADS = st.lists(
    st.sampled_from([line for line in NASTY_LINES if line.split(b":")[0] in {b"Accept", b"Traceparent"}]),
    max_size=2,
    unique_by=lambda line: line.split(b":")[0],
)


# Bodies.

SCALARS = st.sampled_from(
    (
        b"1",
        b"0",
        b"1.0",
        b"true",
        b"null",
        b'"5"',
        b"1e2",
        b"-0",
        b"18446744073709551616",
        b'"\\u0063hat"',
        b"0.1",
    )
)
KEYS = st.sampled_from(
    (
        b"model",
        b"mod\\u0065l",
        b"stream",
        b"max_tokens",
        b"n",
        b"temperature",
        b"x",
        b"messages",
        b"\\u0078",
        b"Model",
    )
)
VALUES = SCALARS | st.sampled_from(
    (b'"chat"', b'"qwen"', b'"served"', b"[1]", b'{"a":1,"a":2}', b'[{"role":"user"}]')
)


SOUND = (
    (b"stream", b"true"),
    (b"stream", b"null"),
    (b"max_tokens", b"5"),
    (b"max_tokens", b"5.0"),
    (b"n", b"1"),
    (b"temperature", b"1e-1"),
    (b"seed", b"-9223372036854775808"),
    (b"x", b"18446744073709551616"),
    (b"Model", b'"other"'),
    (b"y", b'{"model":"other","a":[{},{"b":"\\ud83d\\ude00"}]}'),
    (b"m\\u006fdel\\u0000", b'"other"'),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    space = draw(st.sampled_from((b"", b" ", b"\n", b"\t")))
    pairs = [(b"model", b'"chat"'), (b"messages", b'[{"role":"user","content":"x"}]')]
    pairs += draw(st.lists(st.sampled_from(SOUND), max_size=3, unique_by=lambda pair: pair[0]))
    pairs += draw(st.just([]) | st.lists(st.tuples(KEYS, VALUES), max_size=1))
    pairs = draw(st.permutations(pairs))
    text = (b"%b,%b" % (space, space)).join(
        b'"%b"%b:%b%b' % (key, space, space, value) for key, value in pairs
    )
    return damaged(b"{%b%b}" % (text, space), draw(DAMAGE))


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), pairs
    return dict(pairs)


@given(bodies(), HEADS)
@settings(max_examples=examples(120), deadline=None)
def test_what_we_send_for_a_call_uvicorn_and_fastapi_read_as_we_do(uvicorn, body, lines):
    try:
        call = read_call(PATH, body, CATALOG)
    except Refusal:
        return
    raw = b"\r\n".join(
        (b"POST %b HTTP/1.1" % PATH.encode(), b"Host: a", *lines, b"Content-Length: 0", b"", b"")
    )
    heads, refused = accepted(raw)
    if refused:
        return
    (read,) = uvicorn.read(sent_for(heads[0][0], call))
    assert (read.method, read.target, read.body) == (b"POST", call.path, call.body)
    assert dict(read.headers).get(b"accept") == heads[0][0].get(b"accept")
    value = json.loads(call.body, object_pairs_hook=unique)
    assert pydantic_core.from_json(call.body) == value
    assert value["model"] == "served"
    assert json.loads(body) | {"model": "served"} | _stream_options(value) == value
    if read.asked is not None:  # else it was refused with a 422
        assert (read.asked.model, bool(read.asked.stream)) == ("served", call.stream)
        assert read.asked.max_tokens == call.tokens_max
        assert read.asked.messages == value["messages"]


def _stream_options(value: dict[str, Any]) -> dict[str, Any]:
    return {"stream_options": value["stream_options"]} if "stream_options" in value else {}


@given(bodies())
@settings(max_examples=examples(200), deadline=None)
def test_a_body_that_two_readers_could_read_differently_is_refused(body):
    """Python keeps the last of two equal keys, others the first: neither is asked."""
    try:
        call = read_call(PATH, body, CATALOG)
    except Refusal:
        return
    for text in (body, call.body):
        read = json.loads(text, object_pairs_hook=unique)
        assert pydantic_core.from_json(text) == read
    assert json.loads(body)["model"] in {"chat", "qwen"}
