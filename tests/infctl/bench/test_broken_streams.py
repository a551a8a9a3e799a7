"""Every way in which a stream breaks is counted in its class, none as a success; odd but whole ones are."""

from __future__ import annotations

from typing import Any

import pytest

from infctl.bench import session
from infctl.bench.record import Record
from infctl.bench.results import Config

TOKENS = 16


def asked(url: str, mode: str, **more: Any) -> list[Record]:
    """Four requests to the stub in that mode."""
    settings: dict[str, Any] = {
        "endpoint": "chat",
        "lengths_in": "8",
        "lengths_out": str(TOKENS),
        "arrivals": "closed",
        "rate": None,
        "concurrency": 2,
        "requests": 4,
        "duration_s": None,
        "warmup": "0",
        "cooldown": "0",
        "seed": 1,
        "timeout_s": 0.4 if mode in {"hang", "silent"} else 30.0,
    }
    return session.measure(Config(model=mode, **(settings | more)), session.target(url, None)).records


BROKEN = {
    "in_band": "in_band",
    "in_band_first": "in_band",
    "json_error": "in_band",
    "finish_abort": "in_band",
    "no_done": "truncated",
    "no_finish": "truncated",
    "ended_early": "truncated",
    "nothing": "truncated",
    "only_done": "truncated",
    "cut": "truncated",
    "reset": "truncated",
    "short_length": "truncated",
    "too_short": "wrong_length",
    "not_json": "malformed",
    "odd": "malformed",
    "long_event": "malformed",
    "garbage": "malformed",
    "close": "refused",
    "hang": "timeout",
    "silent": "timeout",
    "status_400": "http",
    "status_429": "http",
    "status_500": "http",
}


@pytest.mark.parametrize("mode", BROKEN)
def test_a_broken_stream_is_counted_in_its_class(stub: Any, mode: str) -> None:
    records = asked(stub.url, mode)
    assert [record.outcome for record in records] == [BROKEN[mode]] * 4, records
    assert all(record.detail for record in records)


@pytest.mark.parametrize(
    "mode",
    [
        "fast",
        "comment",
        "comment_glued",
        "crlf",
        "cr",
        "no_space",
        "event_lines",
        "split",
        "joined",
        "role_first",
        "reasoning",
        "two_a_piece",
        "counted",
    ],
)
def test_a_stream_that_is_odd_but_whole_is_a_success_with_every_token(stub: Any, mode: str) -> None:
    for record in asked(stub.url, mode):
        assert (record.outcome, record.tokens_out, record.tokens_in) == ("ok", TOKENS, 7)
        content = {"two_a_piece": TOKENS // 2, "counted": 5}.get(mode, TOKENS)
        assert len(record.content_us()) == content
        assert record.request_id is not None


def test_the_role_alone_is_no_first_token(stub: Any) -> None:
    record = asked(stub.url, "role_first")[0]
    assert record.pieces == "E" + "t" * TOKENS
    assert record.content_us()[0] == record.piece_us[1]


def test_without_the_servers_count_an_answer_is_whole_but_the_verdict_says_so(stub: Any) -> None:
    settings = {"lengths_out": "8", "requests": 40}
    records = asked(stub.url, "no_usage", **settings)
    assert {record.outcome for record in records} == {"ok"}
    assert {record.tokens_out for record in records} == {None}


def test_an_error_is_told_in_the_servers_own_words(stub: Any) -> None:
    assert asked(stub.url, "in_band")[0].detail == "the engine died"
    record = asked(stub.url, "status_429")[0]
    assert (record.status, record.detail) == (429, "status_429 it is")


def test_where_no_length_was_asked_for_another_is_no_failure(stub: Any) -> None:
    assert {record.outcome for record in asked(stub.url, "too_short", exact=False)} == {"ok"}
