"""Bodies that a careless gateway would pass on, each with the answer it gets here instead: 400, and why."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import config, strictjson
from gateway.catalog import Catalog
from gateway.openai import Call, read_call
from gateway.refusal import Refusal
from tests.examples import examples

CATALOG = Catalog(
    config.parse(
        {
            "models": [
                {
                    "name": "chat",
                    "served_name": "served",
                    "aliases": ["qwen"],
                    "tasks": ["chat", "text2sql"],
                    "max_model_len": 2048,
                    "backends": [{"id": "chat0", "url": "http://127.0.0.1:1"}],
                }
            ]
        }
    )
)
MESSAGES = b'"messages":[{"role":"user","content":"x"}]'


def chat(body: bytes) -> Call:
    return read_call("/v1/chat/completions", body, CATALOG)


def refused(body: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        chat(body)
    assert caught.value.status == 400
    return caught.value


def with_field(field: bytes) -> bytes:
    return b'{"model":"chat",%b,%b}' % (MESSAGES, field)


GOOD = with_field(b'"temperature":0.5')


def test_the_body_that_the_others_are_made_from_is_good():
    assert chat(GOOD).model.name == "chat"


NOT_JSON = [
    (GOOD[:-1], "not valid JSON"),
    (GOOD + b"x", "follows the JSON object"),
    (GOOD + GOOD, "follows the JSON object"),
    (b"", "empty"),
    (b" \n", "empty"),
    (b"null", "`null`"),
    (b"[]", "an array"),
    (b'"text"', "a string"),
    (b"5", "a number"),
    (b"true", "true or false"),
    (with_field(b'"user":"\xff"'), "not UTF-8: byte 67 is 0xff"),
    (with_field(b'"user":"\xc0\xaf"'), "not UTF-8"),
    (b"\xef\xbb\xbf" + GOOD, "byte order mark"),
    (GOOD.decode().encode("utf-16"), "UTF-16"),
    (GOOD.decode().encode("utf-16-le"), "UTF-16"),
    (GOOD.decode().encode("utf-32"), "UTF-16"),
    (with_field(b'"user":"\\ud800"'), "surrogate"),
    (with_field(b'"user":"\\udc00\\ud800"'), "surrogate"),
    (with_field(b'"user":"a\x00b"'), "not valid JSON"),
    (with_field(b'"user":"a\nb"'), "not valid JSON"),
    (with_field(b'"user":"\\x41"'), "not valid JSON"),
    (with_field(b'"user":01'), "not valid JSON"),
    (with_field(b"'user':1"), "not valid JSON"),
    (with_field(b'"user":1,'), "not valid JSON"),
    (with_field(b'"temperature":NaN'), "NaN is not JSON"),
    (with_field(b'"temperature":Infinity'), "Infinity is not JSON"),
    (with_field(b'"temperature":-Infinity'), "-Infinity is not JSON"),
    (with_field(b'"temperature":1e999'), "too large"),
    (with_field(b'"unknown":1e999'), "too large"),
    (with_field(b'"logit_bias":{"1":NaN}'), "NaN is not JSON"),
    (with_field(b'"seed":' + b"9" * 5000), "too large"),
    (with_field(b'"seed":' + str(2**70).encode()), "expected"),
]
"""What is not strict JSON, and what is said of it."""


@pytest.mark.parametrize(
    ("body", "says"), NOT_JSON, ids=lambda value: None if isinstance(value, str) else repr(value[-40:])
)
def test_what_is_not_strict_json_is_refused(body, says):
    assert says in refused(body).message


@pytest.mark.parametrize("depth", [65, 500, 5000, 100_000])
@pytest.mark.parametrize("pair", [b"[]", b"{}"])
def test_deep_nesting_is_refused_quickly(depth, pair):
    opening = pair[:1] if pair == b"[]" else b'{"a":'
    deep = opening * (depth - 1) + b"1" + pair[1:] * (depth - 1)
    began = time.thread_time()
    assert "nested deeper than 64" in refused(with_field(b'"x":' + deep)).message
    assert time.thread_time() - began < 1


def test_64_levels_pass_however_many_brackets_there_are():
    deep = b"[" * 63 + b"]" * 63
    assert chat(with_field(b'"x":' + deep))
    assert chat(with_field(b'"x":[%b]' % b",".join([b"[{}]"] * 10_000)))


def test_brackets_in_strings_are_text():
    assert chat(with_field(b'"user":"%b"' % (b'[{\\"\\\\' * 500)))


TWICE = [
    b'{"model":"chat","model":"other",%b}' % MESSAGES,
    b'{"model":"chat",%b,"mod\\u0065l":"other"}' % MESSAGES,
    b'{"model":"chat","messages":[{"role":"user","role":"system"}]}',
    with_field(b'"x":[[{"a":{"b":1,"c":2,"b":3}}]]'),
    with_field(b'"" : 1, "":2'),
]


@pytest.mark.parametrize("body", TWICE)
def test_a_key_written_twice_is_refused(body):
    assert "twice" in refused(body).message


def test_the_same_key_in_different_objects_is_no_duplicate():
    body = b'{"model":"qwen","x":{"model":"a\\\\"},"messages":[{"role":"user"},{"role":"user","model":"c"}]}'
    assert chat(body).body == body.replace(b'"qwen"', b'"served"')


WRONG_FIELDS = [
    (b'"max_tokens":-1', "max_tokens"),
    (b'"max_tokens":0', "max_tokens"),
    (b'"max_tokens":%d' % 2**70, "max_tokens"),
    (b'"max_tokens":true', "max_tokens"),
    (b'"max_tokens":"5"', "max_tokens"),
    (b'"max_tokens":1.5', "max_tokens"),
    (b'"max_completion_tokens":0', "max_completion_tokens"),
    (b'"temperature":-1', "temperature"),
    (b'"temperature":5', "temperature"),
    (b'"temperature":"hot"', "temperature"),
    (b'"top_p":2', "top_p"),
    (b'"top_p":0', "top_p"),
    (b'"n":0', "n"),
    (b'"n":1000000', "n"),
    (b'"top_logprobs":-5', "top_logprobs"),
    (b'"stream":"yes"', "stream"),
    (b'"stream_options":[]', "stream_options"),
    (b'"stream_options":{"include_usage":1}', "stream_options.include_usage"),
    (b'"logit_bias":{"1":"x"}', "logit_bias[...]"),
]
"""Fields of the wrong type or range."""


@pytest.mark.parametrize(("field", "param"), WRONG_FIELDS)
def test_a_field_of_the_wrong_type_or_range_is_named(field, param):
    refusal = refused(with_field(field))
    assert (refusal.code, refusal.param) == ("invalid_request", param)
    assert param in refusal.message


@pytest.mark.parametrize("tokens", [2049, 10**12])
def test_more_tokens_than_the_model_holds_are_refused_for_certain(tokens):
    refusal = refused(with_field(b'"max_tokens":%d' % tokens))
    assert (refusal.code, refusal.param) == ("context_length_exceeded", "max_tokens")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"chat"}', "messages"),
        (b'{"model":"chat","messages":[]}', "messages"),
        (b'{"model":"chat","messages":{}}', "messages"),
        (b'{"model":"chat","messages":["x"]}', "messages[0]"),
        (b'{"model":"chat","messages":[{"content":"x"}]}', "messages[0]"),
        (b'{"model":"chat","messages":[{"role":"zz"}]}', "messages[0].role"),
        (b"{%b}" % MESSAGES, "model"),
        (b'{"model":null,%b}' % MESSAGES, "model"),
        (b'{"model":5,%b}' % MESSAGES, "model"),
        (b'{"model":"",%b}' % MESSAGES, "model"),
    ],
)
def test_what_a_chat_cannot_do_without_is_named(body, param):
    assert refused(body).param == param


def test_a_model_name_of_a_megabyte_is_not_repeated():
    refusal = refused(b'{"model":"%b",%b}' % (b"x" * 1_000_000, MESSAGES))
    assert len(refusal.message) < 200


def test_an_unknown_model_is_a_404_with_a_short_name():
    with pytest.raises(Refusal) as caught:
        chat(b'{"model":"%b",%b}' % (b"x" * 200, MESSAGES))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert len(caught.value.message) < 150


def test_ten_thousand_messages_and_a_hundred_thousand_biases_are_read_in_time():
    messages = b",".join([b'{"role":"user","content":"x"}'] * 10_000)
    bias = b",".join(b'"%d":1' % n for n in range(100_000))
    began = time.thread_time()
    chat(b'{"model":"chat","messages":[%b],"logit_bias":{%b}}' % (messages, bias))
    assert time.thread_time() - began < 2


# What passes is what was written.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(["model", "stream_options", "x", 'q"', "b\\", "{", "é"])


@given(
    extra=st.dictionaries(NAMES | st.text(max_size=4), JSON, max_size=4),
    options=st.sampled_from([None, {}, {"include_usage": False}, {"x": [1, {"model": '"}'}]}, "absent"]),
    indent=st.sampled_from([None, 1]),
    escaped=st.booleans(),
    first=st.booleans(),
)
@settings(max_examples=examples(300), deadline=None)
def test_a_spliced_body_says_what_the_client_said(extra, options, indent, escaped, first):
    body = {"n": extra, **extra} if first else dict(extra)
    for taken in ("messages", "stream", "temperature", "top_p", "seed", "stream_options"):
        body.pop(taken, None)
    body |= {"messages": [{"role": "user", "content": 'model": "qwen'}], "stream": True, "model": "qwen"}
    body.pop("n", None)
    body["after"] = extra
    if options != "absent":
        body["stream_options"] = options
    text = json.dumps(body, indent=indent, ensure_ascii=escaped).encode()
    call = chat(text)
    wanted = (options if isinstance(options, dict) else {}) | {
        "include_usage": True,
        "continuous_usage_stats": True,
    }
    assert json.loads(call.body) == body | {"model": "served", "stream_options": wanted}
    strictjson.read(call.body)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ \n0eaNu.-', max_size=60).map(str.encode))
@settings(max_examples=examples(500), deadline=None)
def test_any_bytes_are_json_for_python_too_or_refused(body):
    try:
        document = strictjson.read(body)
    except strictjson.BadJson:
        return
    assert json.loads(body) == document.value or "e" in body.decode() or "." in body.decode()
    for key in document.value:
        span = document.span(key)
        assert span is not None
        assert json.loads(body[span[1] : span[2]]) == json.loads(body)[key]
