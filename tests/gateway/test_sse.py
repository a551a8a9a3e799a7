"""Event streams, however they are cut into pieces."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import sse
from gateway.asked import Call
from gateway.config import Backend, Model
from gateway.relay import BrokenStream, Stream
from gateway.usage import Usage, usage_in, without_usage
from tests.examples import examples
from tests.gateway.stub import stream_of

MODEL = Model(name="m", served_name="m", tasks=("chat",), backends=(Backend(id="b", url="http://h:1"),))


def call(*, usage: bool = False, running: bool = False) -> Call:
    return Call(
        MODEL, b"/", b"", stream=True, wants_usage=usage, wants_running_usage=running, tokens_max=None
    )


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def told(pieces: list[bytes]) -> list[bytes | None]:
    splitter = sse.Splitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return [data for event in events if (data := sse.data_of(event)) is not None]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\n\r\ndata: b\r\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b": keep-alive\n\ndata: a\n\n", [b"a"]),
        (b": keep-alive\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\ndata: a\nretry: 5\n\n", [b"a"]),
        (b"\n\n\ndata: a\n\n", [b"a"]),
        (b"dataset: a\n\n", []),
        (b"data: a\n", []),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_read_as_the_standard_says(stream, data, size):
    assert told([stream[n : n + size] for n in range(0, len(stream), size)]) == data


@given(st.text(alphabet="\r\n:da t", max_size=40).map(str.encode), st.lists(st.integers(0, 100)))
@settings(max_examples=examples(500), deadline=None)
def test_cuts_change_nothing(stream, cuts):
    pieces = pieces_of(stream, cuts)
    splitter = sse.Splitter()
    assert b"".join(event for piece in pieces for event in splitter.feed(piece)) + splitter.rest == stream
    assert told(pieces) == told([stream])


def test_an_endless_event_is_refused():
    splitter = sse.Splitter(limit=100)
    for _ in range(12):
        splitter.feed(b"data: 34")
    with pytest.raises(sse.TooLong):
        splitter.feed(b"data: 34")


@given(
    cuts=st.lists(st.integers(0, 5000), max_size=12), asked=st.sampled_from(["nothing", "last", "running"])
)
@settings(max_examples=examples(200), deadline=None)
def test_a_client_sees_the_stream_it_asked_for_and_we_see_the_usage(cuts, asked):
    upstream = b"".join(
        stream_of({"stream_options": {"include_usage": True, "continuous_usage_stats": True}})
    )
    wanted = {
        "nothing": stream_of({}),
        "last": stream_of({"stream_options": {"include_usage": True}}),
        "running": [upstream],
    }[asked]
    stream = Stream(call(usage=asked != "nothing", running=asked == "running"))
    out = b"".join(stream.feed(piece) for piece in pieces_of(upstream, cuts))
    assert out == b"".join(wanted)
    assert stream.finish() == b""
    assert stream.usage == Usage(prompt_tokens=5, completion_tokens=7, total_tokens=12)


_USAGES = st.sampled_from(
    [
        {"prompt_tokens": 1, "total_tokens": 3, "completion_tokens": 2},
        {"prompt_tokens": 1, "x": {"y": 1}},
        None,
        {},
    ]
)
_TEXTS = st.sampled_from(
    ["", "word", ',"usage":{"prompt_tokens":9}}', '"error"', '"choices":[]', "}}", "{", "\r\n"]
)


@given(
    fields=st.permutations(["choices", "usage", "model", "nested"]),
    usage=_USAGES,
    text=_TEXTS,
    choices=st.sampled_from(["none", "one", "gone"]),
    compact=st.booleans(),
    cut=st.integers(1, 400),
    asked=st.sampled_from(["nothing", "last", "running"]),
)
@settings(max_examples=examples(500), deadline=None)
def test_an_event_read_at_once_is_what_it_is_read_in_two_pieces(
    fields, usage, text, choices, compact, cut, asked
):
    values = {
        "choices": [{"delta": {"content": text}}] if choices == "one" else [],
        "usage": usage,
        "model": text,
        "nested": {"usage": usage},
    }
    if choices == "gone":
        fields = [name for name in fields if name != "choices"]
    body = json.dumps({name: values[name] for name in fields}, separators=(",", ":") if compact else None)
    event = b"data: %b\n\n" % body.encode()
    first, second = (Stream(call(usage=asked != "nothing", running=asked == "running")) for _ in range(2))
    whole = first.feed(event)
    assert whole == second.feed(event[:cut]) + second.feed(event[cut:])
    assert (first.usage, first.events, first.ending) == (second.usage, second.events, second.ending)


def test_a_stream_cut_in_the_middle_still_has_its_usage():
    events = stream_of({"stream_options": {"include_usage": True, "continuous_usage_stats": True}})
    stream = Stream(call())
    stream.feed(b"".join(events[:3]) + events[3][:20])
    with pytest.raises(BrokenStream):
        stream.finish()
    assert stream.usage is not None
    assert stream.usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("piece", "bare"),
    [
        (b'{"a":1,"usage":{"x":1}}', b'{"a":1}'),
        (b'{"a":1, "usage": {"x": {"y": 1}} }', b'{"a":1 }'),
        (b'{"usage":null,"a":1}', b'{"a":1}'),
        (b'{"usage":{"x":1}}', b"{}"),
        (b'{"a":1,"usage":{"x":1},"b":2}', b'{"a":1,"b":2}'),
        (b'{"a":{"usage":{"x":1}}}', b'{"a":{"usage":{"x":1}}}'),
        (b'{"a":",\\"usage\\":{}"}', b'{"a":",\\"usage\\":{}"}'),
        (b'{"a":"usage"}', b'{"a":"usage"}'),
    ],
)
def test_only_the_outermost_usage_is_taken_out(piece, bare):
    assert without_usage(piece) == bare


def test_text_that_looks_like_usage_is_text():
    assert usage_in(b'{"content":"\\"usage\\":{\\"prompt_tokens\\":9}"}') is None
    assert usage_in(b'{"content":"usage","a":"usage"}') is None
    assert usage_in(b'{"usage":{"prompt_tokens":1},"a":"usage"}') == Usage(prompt_tokens=1)
    assert usage_in(b'{"usage":{"prompt_tokens":"x"}}') is None
