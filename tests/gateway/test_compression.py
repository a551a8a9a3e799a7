"""gzip: for whom, of what, and that the bytes come out again."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from gateway.compression import INLINE_BYTES, LEAST_BYTES, packed, takes_gzip
from tests.gateway.process import config_for
from tests.gateway.raw import JSON, Raw, sized


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        (b"gzip", True),
        (b"gzip, deflate, br", True),
        (b"br;q=1.0, GZIP;q=0.5", True),
        (b"x-gzip", True),
        (b"*", True),
        (b"*;q=0", False),
        (b"gzip;q=0", False),
        (b"gzip;q=0.000, *", False),
        (b"identity", False),
        (b"", False),
        (b"gzipped", False),
        (b"gzip;q=nonsense", False),
        (b"\xff\xfe", False),
    ],
)
def test_who_asks_for_gzip(accepted, wanted):
    assert takes_gzip(accepted) == wanted


@pytest.mark.parametrize("size", [LEAST_BYTES, INLINE_BYTES, INLINE_BYTES + 1, 1_000_000])
def test_what_was_packed_comes_out_again(size):
    body = b"ab" * (size // 2)
    data, lines = asyncio.run(packed(body, b"gzip"))
    assert (gzip.decompress(data), lines) == (body, b"content-encoding: gzip\r\nvary: accept-encoding\r\n")
    assert len(data) < size / 10


def test_what_is_short_or_not_asked_for_stays_as_it_is():
    assert asyncio.run(packed(b"x" * (LEAST_BYTES - 1), b"gzip")) == (b"x" * (LEAST_BYTES - 1), b"")
    body = b"x" * LEAST_BYTES
    assert asyncio.run(packed(body, None)) == (body, b"vary: accept-encoding\r\n")


@pytest.fixture
def long():
    made = Raw()
    made.answer = sized(json.dumps({"choices": [], "text": "word " * 2000}).encode(), JSON)
    yield made
    made.stop()


@pytest.mark.parametrize("on", [True, False])
def test_a_client_that_asks_gets_gzip_and_reads_the_same(start, long, on):
    gateway = start(config_for(long, http={"compression": on})).wait_ready(2)
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
    asked = gateway.http.post("/v1/chat/completions", json=body, headers={"accept-encoding": "gzip"})
    plain = gateway.http.post("/v1/chat/completions", json=body, headers={"accept-encoding": "identity"})
    assert asked.json() == plain.json()
    assert asked.headers.get("content-encoding") == ("gzip" if on else None)
    assert "content-encoding" not in plain.headers
    assert (plain.headers.get("vary") == "accept-encoding") == on
    line = gateway.request_line(asked.headers["x-request-id"])
    assert line["bytes_out"] == int(asked.headers["content-length"])
    assert not on or line["bytes_out"] < int(plain.headers["content-length"]) / 5


def test_streams_are_never_packed(start, make_stub):
    gateway = start(config_for(make_stub())).wait_ready(2)
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True}
    reply = gateway.http.post("/v1/chat/completions", json=body, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in reply.headers
    assert reply.content.endswith(b"data: [DONE]\n\n")


def test_an_answer_from_the_cache_is_packed_for_who_asks(start):
    embeds = Raw()
    embeds.answer = sized(json.dumps({"data": [{"embedding": [0.5] * 2000}]}).encode(), JSON)
    try:
        gateway = start(config_for(embeds)).wait_ready(2)
        codings = []
        for accepted in ("identity", "gzip", "identity"):
            reply = gateway.http.post(
                "/v1/embeddings", json={"model": "embed", "input": "x"}, headers={"accept-encoding": accepted}
            )
            assert len(reply.json()["data"][0]["embedding"]) == 2000
            codings.append((reply.headers["x-cache"], reply.headers.get("content-encoding")))
        assert codings == [("miss", None), ("hit", "gzip"), ("hit", None)]
    finally:
        embeds.stop()
