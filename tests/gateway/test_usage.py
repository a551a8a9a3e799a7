"""Usage, as engines write it."""

from __future__ import annotations

import json
import time

import pytest

from gateway.usage import Usage, usage_in

PLAIN = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
DETAILS = PLAIN | {"prompt_tokens_details": {"cached_tokens": 1}, "x": {"a": {"b": {}}, "c": 1}}


@pytest.mark.parametrize("usage", [PLAIN, DETAILS, {"x": {}} | PLAIN])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("behind", [{}, {"prompt_logprobs": None, "y": {"z": "}"}}])
def test_usage_is_found_with_details_in_it_and_fields_behind_it(usage, indent, behind):
    reply = {"choices": [{"text": 'he said "usage": {"prompt_tokens": 9}'}], "usage": usage} | behind
    found = usage_in(json.dumps(reply, indent=indent).encode())
    assert found is not None
    assert (found.prompt_tokens, found.completion_tokens, found.total_tokens) == (3, 4, 7)
    assert found.cached_tokens == ("prompt_tokens_details" in usage)


@pytest.mark.parametrize("details", [5, [], {"cached_tokens": -1}, {"cached_tokens": "1"}])
def test_odd_details_are_no_reason_to_count_nothing(details):
    reply = {"usage": PLAIN | {"prompt_tokens_details": details}}
    assert usage_in(json.dumps(reply).encode()) == Usage(3, 4, 7)


def test_more_cached_tokens_than_the_prompt_has_are_as_many_as_it_has():
    reply = {"usage": PLAIN | {"prompt_tokens_details": {"cached_tokens": 99}}}
    found = usage_in(json.dumps(reply).encode())
    assert found is not None
    assert found.cached_tokens == 3


def test_cached_tokens_are_read_in_the_words_of_responses():
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    reply = {"usage": usage | {"input_tokens_details": {"cached_tokens": 2}}}
    found = usage_in(json.dumps(reply).encode())
    assert found is not None
    assert (found.prompt_tokens, found.cached_tokens) == (3, 2)


@pytest.mark.parametrize(
    "text",
    [
        b'{"usage":null}',
        b'{"usage":5}',
        b'{"usage":{"prompt_tokens":1',
        b'{"usage":{"prompt_tokens":"x"}}',
        b'{"usage"}',
        b"",
    ],
)
def test_what_is_no_usage_is_none(text):
    assert usage_in(text) is None


def test_brackets_without_end_are_given_up_quickly():
    began = time.thread_time()
    for opening in (b"{", b"{}", b"{{}", b"{{}{{}"):
        assert usage_in(b'{"usage":{' + (opening * 4096)[:4096]) is None
    assert time.thread_time() - began < 1
