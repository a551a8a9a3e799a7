"""What is read of an answer does not hang on how its bytes were cut, nor on what else an event holds."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.bench.reading import Reading
from tests.examples import examples

from .stub import DONE, data, events, piece

TOKENS = 16
STREAMS = (  # noqa: SIM905 - names
    "fast comment comment_glued crlf cr no_space event_lines joined role_first reasoning two_a_piece counted"
    " in_band no_done no_finish not_json odd finish_abort only_done nothing ended_early"
).split()


def told(parts: list[bytes]) -> tuple[object, ...]:
    reading = Reading(stream=True, asked_out=TOKENS, exact=True)
    reading.head(200, [(b"content-type", b"text/event-stream")])
    for at, part in enumerate(parts):
        reading.body(part, at)
    reading.end(len(parts))
    return reading.outcome, reading.detail, reading.tokens_out, "".join(reading.pieces), reading.finish


@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 4000), max_size=12))
def test_a_stream_reads_alike_however_it_is_cut(mode: str, cuts: list[int]) -> None:
    sent = events(mode, TOKENS)
    whole = b"".join(sent)
    at = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    parts = [whole[start:end] for start, end in itertools.pairwise(at)]
    assert told(parts) == told(sent)


@pytest.mark.parametrize(
    ("event", "outcome", "detail"),
    [
        (b'{"choices": [7]}', "malformed", "an event other than the API says"),
        (b'{"choices": {"0": 1}}', "malformed", "an event other than the API says"),
        (b'["choices"]', "malformed", "an event other than the API says"),
        (b'{"choices": [], "usage": {"tokens": 1}}', "malformed", "an event other than the API says"),
        (b'{"choices": [}', "malformed", "an event that is not JSON"),
        (b'{"choices": [{"delta": {"content": "\xff"}}]}', "malformed", "an event that is not JSON"),
        (b'{"object": "error", "message": "gone"}', "in_band", "gone"),
        (b'{"error": "gone"}', "in_band", "gone"),
        (b'{"error": {"message": "gone"}, "choices": []}', "in_band", "gone"),
    ],
)
def test_an_event_that_is_none_is_told_by_what_is_wrong_with_it(
    event: bytes, outcome: str, detail: str
) -> None:
    found = told([data(piece()), b"data: " + event + b"\n\n", DONE])
    assert found[0] == outcome
    assert str(found[1]).startswith(detail), found


def test_an_event_of_two_lines_that_come_apart_is_one() -> None:
    text = piece()
    at = text.index('"choices"')
    lines = [f"data: {text[:at]}\n".encode(), f"data: {text[at:]}\n\n".encode()]
    assert told([*lines, *lines, DONE])[3] == "tt"


def test_what_else_an_event_holds_is_passed_over() -> None:
    more = {"service_tier": None, "system_fingerprint": {"a": [1]}, "prompt_token_ids": None}
    choice = {"index": 0, "delta": {"content": "a", "role": "assistant", "refusal": None, "audio": {}}}
    choice |= {"logprobs": {"content": [{"token": "a", "logprob": -1.5, "top_logprobs": []}]}}
    choice |= {"stop_reason": 7, "token_ids": [1], "finish_reason": "length"}
    counts = {"prompt_tokens": 3, "completion_tokens": 16, "prompt_tokens_details": {"cached_tokens": 2}}
    parts = [
        data(json.dumps({**more, "choices": [choice], "usage": None})),
        data(json.dumps({**more, "choices": [], "usage": counts})),
        DONE,
    ]
    assert told(parts) == ("ok", "", 16, "t", "length")
