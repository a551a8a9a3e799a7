"""Readers give the same events however the bytes are cut, and agree with h11 about what is valid."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import HttpLimits
from gateway.wire.request import END, Refused, RequestHead, RequestReader
from gateway.wire.response import Broken, ReplyHead, ResponseReader
from tests.examples import examples

LIMITS = HttpLimits()
TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789-.!#$&'*+^`|~", min_size=1, max_size=12)
OWN = {"host", "content-length", "transfer-encoding", "expect", "connection", "upgrade", "authorization",
       "content-type", "proxy-connection", "keep-alive"}  # fmt: skip
NAMES = TOKENS.filter(lambda name: name.lower() not in OWN).map(str.encode)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30
).map(lambda text: text.encode("latin-1").strip(b" \t"))
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
PATHS = st.text("abcXYZ019-._~%/?&=:@", max_size=30).map(lambda text: b"/" + text.encode())
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces if p) + b"0\r\n\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.binary(max_size=40), max_size=4))
    lines = [
        b"%b %b HTTP/1.%d" % (draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"])), draw(PATHS), 1),
        b"Host: " + draw(st.sampled_from([b"a", b"a.example:8000", b"[::1]:80", b""])),
        *(b"%b:%b%b" % (k, draw(st.sampled_from([b"", b" ", b"\t "])), v) for k, v in draw(HEADERS)),
    ]
    if draw(st.booleans()):
        return b"\r\n".join((*lines, b"Transfer-Encoding: chunked", b"", chunked(pieces)))
    body = b"".join(pieces)
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", body))


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.binary(max_size=40), max_size=4))
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    lines = [
        b"HTTP/1.1 %d Reason" % draw(st.sampled_from([200, 201, 400, 429, 500, 503])),
        *(b"%b: %b" % pair for pair in draw(HEADERS)),
    ]
    if draw(st.booleans()):
        return interim + b"\r\n".join((*lines, b"Transfer-Encoding: chunked", b"", chunked(pieces)))
    body = b"".join(pieces)
    return interim + b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", body))


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    found, at, i = [], 0, 0
    while at < len(data):
        found.append(data[at : at + sizes[i % len(sizes)]])
        at += sizes[i % len(sizes)]
        i += 1
    return found


def read_requests(pieces: list[bytes]) -> list[object]:
    """Every event; neighbouring pieces of a body are one, and heads are compared by what they say."""
    reader, found = RequestReader(LIMITS), []
    for piece in pieces:
        events = reader.feed(piece)
        while events:
            for event in events:
                if isinstance(event, bytes) and isinstance(found[-1], bytes):
                    found[-1] += event
                else:
                    found.append(repr(event) if isinstance(event, RequestHead) else event)
            events = reader.resume() if events[-1] is END else []
    return found


def read_reply(pieces: list[bytes], *, head_only: bool = False) -> tuple[list[object], ResponseReader]:
    reader, found = ResponseReader(), []
    reader.begin(head_only=head_only)
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, bytes) and isinstance(found[-1], bytes):
                found[-1] += event
            else:
                found.append(repr(event) if isinstance(event, ReplyHead | Broken) else event)
    return found, reader


def read_by_chunks(pieces: list[bytes]) -> tuple[list[object], int]:
    """What came, and how often the parser was not asked."""
    reader, found, short = ResponseReader(), [], 0
    reader.begin(head_only=False)
    for piece in pieces:
        whole = reader.chunks(piece)
        short += whole is not None
        for event in reader.feed(piece) if whole is None else [whole]:
            if isinstance(event, bytes) and isinstance(found[-1], bytes):
                found[-1] += event
            else:
                found.append(repr(event) if isinstance(event, ReplyHead | Broken) else event)
    return found, short


@given(st.lists(requests(), min_size=1, max_size=3), CUTS)
@settings(max_examples=examples(200), deadline=None)
def test_a_request_cut_anywhere_gives_the_same_events(messages: list[bytes], sizes: list[int]) -> None:
    data = b"".join(messages)
    whole = read_requests([data])
    assert whole.count(END) == len(messages)
    assert read_requests(cut(data, sizes)) == whole


@given(requests(), st.integers(0, 400), st.binary(min_size=1, max_size=3), CUTS)
@settings(max_examples=examples(400), deadline=None)
def test_a_damaged_request_cut_anywhere_gives_the_same_verdict(
    data: bytes, at: int, dirt: bytes, sizes: list[int]
) -> None:
    at %= len(data)
    data = data[:at] + dirt + data[at + 1 :]
    whole, pieces = read_requests([data]), read_requests(cut(data, sizes))
    if any(isinstance(event, Refused) for event in whole):
        assert isinstance(pieces[-1], Refused)
        assert [e for e in pieces if isinstance(e, str)] == [e for e in whole if isinstance(e, str)]
        assert pieces.count(END) == whole.count(END)
    else:
        # What is not complete yet may be refused early only if it could not have become right.
        assert pieces == whole


@given(requests())
@settings(max_examples=examples(200), deadline=None)
def test_a_valid_request_reads_as_h11_reads_it(data: bytes) -> None:
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(data)
    head = theirs.next_event()
    assert isinstance(head, h11.Request)
    body = b""
    while isinstance(event := theirs.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)

    events = RequestReader(LIMITS).feed(data)
    ours = events[0]
    assert isinstance(ours, RequestHead)
    assert ours.method == head.method
    assert head.target in {ours.path + b"?" + ours.query, ours.path}
    assert list(ours.headers) == [tuple(pair) for pair in head.headers]
    assert b"".join(e for e in events if isinstance(e, bytes)) == body
    assert events[-1] is END


@given(replies(), CUTS)
@settings(max_examples=examples(200), deadline=None)
def test_a_reply_cut_anywhere_gives_the_same_events(data: bytes, sizes: list[int]) -> None:
    whole, reader = read_reply([data])
    assert whole[-1] is END
    assert reader.clean
    pieces, reader = read_reply(cut(data, sizes))
    assert pieces == whole
    assert reader.clean


@given(replies())
@settings(max_examples=examples(200), deadline=None)
def test_a_valid_reply_reads_as_h11_reads_it(data: bytes) -> None:
    theirs = h11.Connection(h11.CLIENT)
    theirs.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    theirs.receive_data(data)
    while isinstance(head := theirs.next_event(), h11.InformationalResponse):
        pass
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := theirs.next_event(), h11.Data):
        body += event.data

    reader = ResponseReader()
    events = reader.feed(data)
    ours = events[0]
    assert isinstance(ours, ReplyHead)
    assert ours.status == head.status_code
    assert list(ours.headers) == [tuple(pair) for pair in head.headers]
    assert b"".join(e for e in events if isinstance(e, bytes)) == body


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ODD_CHUNKS = (
    b"0", b"1", b"5\r\nhello", b"5\r\nhello\r\n", b"05\r\nhello\r\n", b"A\r\n0123456789\r\n", b"\r\n",
    b"\n", b"5;x=1\r\nhello\r\n", b"2\r\n\r\n\r\n", b"a\r\n5\r\nhello\r\n\r\n", b"5\nhello\n",
    b"+5\r\nhello\r\n", b"5\r\nhell\r\n", b"5\r\nhelloo\r\n", b"0\r\n", b"0\r\n\r\n", b"x: y\r\n\r\n",
    b"400\r\n%b\r\n" % bytes(1024),
)  # fmt: skip


@given(replies(), CUTS)
@settings(max_examples=examples(300), deadline=None)
def test_whole_chunks_that_the_parser_is_not_asked_about_read_the_same(data: bytes, sizes: list[int]) -> None:
    pieces = cut(data, sizes)
    assert read_by_chunks(pieces)[0] == read_reply(pieces)[0]


@given(st.lists(st.sampled_from(ODD_CHUNKS), max_size=6))
@settings(max_examples=examples(500), deadline=None)
def test_odd_chunks_get_the_parsers_verdict(pieces: list[bytes]) -> None:
    assert read_by_chunks([CHUNKED_HEAD, *pieces])[0] == read_reply([CHUNKED_HEAD, *pieces])[0]


def test_a_stream_as_it_comes_is_read_without_the_parser_however_many_chunks_a_read_brings() -> None:
    one = [chunked([b"data: {%d}\n\n" % n])[:-5] for n in range(20)]
    two = [b"".join(one[:3]), *one[3:], b"0\r\n\r\n"]
    for begin in ([CHUNKED_HEAD], [CHUNKED_HEAD[:30], CHUNKED_HEAD[30:]], [CHUNKED_HEAD + one[0]]):
        found, short = read_by_chunks([*begin, *two])
        assert short == 18
        assert found == read_reply([*begin, *two])[0]


@given(replies(), st.binary(min_size=1, max_size=60), CUTS)
@settings(max_examples=examples(200), deadline=None)
def test_one_byte_behind_a_reply_is_enough_never_to_reuse_its_connection(
    data: bytes, extra: bytes, sizes: list[int]
) -> None:
    for pieces in ([data + extra], cut(data + extra, sizes)):
        found, reader = read_reply(pieces)
        assert found[-1] is END
        if extra.strip(b"\r\n"):
            assert not reader.clean


def reply(data: bytes, *, head_only: bool = False) -> tuple[list[object], ResponseReader]:
    reader = ResponseReader()
    reader.begin(head_only=head_only)
    return list(reader.feed(data)), reader


@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_body(status: int) -> None:
    events, reader = reply(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
    assert events[-1] is END
    assert reader.clean


def test_a_reply_to_head_has_no_body_and_keeps_its_length() -> None:
    events, reader = reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head_only=True)
    assert isinstance(events[0], ReplyHead)
    assert events[0].length == 5
    assert events[1:] == [END]
    assert reader.clean
    reader.begin(head_only=False)
    assert reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")[1:] == [b"a", END]


def test_a_body_behind_a_reply_to_head_is_extra() -> None:
    _, reader = reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", head_only=True)
    assert not reader.clean


def test_a_close_delimited_reply_ends_with_the_connection() -> None:
    events, reader = reply(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert events[-1] == b"hello"
    assert reader.eof() == [END]
    assert not reader.clean


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_a_reply_cut_short_is_broken(data: bytes) -> None:
    _, reader = reply(data)
    events = reader.eof()
    assert isinstance(events[-1], Broken)
    assert not reader.clean


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 17,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 140_000,
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x00\x01",
    ],
    ids=range(10),
)
def test_what_is_no_reply_is_broken(data: bytes) -> None:
    events, reader = reply(data)
    assert isinstance(events[-1], Broken), events
    assert END not in events
    assert not reader.clean


def test_connection_close_and_http_1_0_are_not_kept() -> None:
    for data in (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ):
        events, reader = reply(data)
        assert events[-1] is END
        assert not reader.clean
