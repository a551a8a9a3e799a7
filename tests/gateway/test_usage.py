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
    assert usage_in(json.dumps(reply, indent=indent).encode()) == Usage(3, 4, 7)


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
