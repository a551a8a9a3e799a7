"""A request's line: what it says, and when it is known to hold nothing to hide."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.logline import LogLines
from gateway.note import Hedged, Note
from gateway.redact import Redactor
from gateway.redact.lines import Lines
from gateway.usage import Usage
from gateway.wire.request import RequestHead, RequestLine
from tests.examples import examples

pytestmark = pytest.mark.sources  # an exchange without a connection
TS = "2026-11-27T10:51:05.454Z"
REDACTOR = Redactor(secrets=["a secret of ours"])
HIDING = Lines(REDACTOR)


def note(client_id: bytes | None = None, path: bytes = b"/v1/chat/completions", **given: Any) -> Note:
    head = RequestHead(
        RequestLine(b"POST", path, b"", False, True),
        {} if client_id is None else {b"x-request-id": client_id},
    )
    exchange = SimpleNamespace(
        head=head, id="req_01", received_at=1.0, status=200, bytes_received=862, bytes_sent=1000, peer="p"
    )
    made = Note(exchange, "10.0.0.7", 60.0)  # type: ignore[arg-type]
    made.began_at = 100.0
    made.kind, made.key_id, made.model, made.backend, made.attempts = "call", "2b4144f5", "chat", "stub", 1
    for name, value in given.items():
        setattr(made, name, value)
    return made


def line(of: Note, redactor: Redactor | None = None, lines: LogLines | None = None) -> tuple[bytes, bool]:
    return (lines or LogLines()).line(of, TS, 100.0625, redactor)


def test_a_line_says_all_that_is_known_of_a_call():
    said, clean = line(note(usage=Usage(50, 64, 114), queued_s=0.001953125, first_at=100.03125, stream=True))
    assert said.endswith(b"}\n")
    assert said.count(b"\n") == 1
    assert not clean  # nobody has looked
    assert list(json.loads(said).items()) == [
        ("ts", TS),
        ("level", "info"),
        ("event", "request"),
        ("request_id", "req_01"),
        ("client_request_id", None),
        ("tenant", "10.0.0.7"),
        ("key_id", "2b4144f5"),
        ("method", "POST"),
        ("path", "/v1/chat/completions"),
        ("model", "chat"),
        ("backend", "stub"),
        ("attempts", 1),
        ("status", 200),
        ("outcome", "ok"),
        ("reason", ""),
        ("stream", True),
        ("cache", None),
        ("queue_ms", 1.953),
        ("ttft_ms", 31.25),
        ("total_ms", 62.5),
        ("prompt_tokens", 50),
        ("completion_tokens", 64),
        ("bytes_in", 862),
        ("bytes_out", 1000),
    ]


def test_what_is_not_known_is_null():
    found = json.loads(line(note(model=None, backend=None, key_id=None))[0])
    for name in ("model", "backend", "key_id", "ttft_ms", "prompt_tokens", "completion_tokens", "cache"):
        assert found[name] is None
    assert json.loads(line(note(usage=Usage(7, None, 7)))[0])["completion_tokens"] is None
    assert json.loads(line(note(outcome="failed"))[0])["level"] == "warning"


def test_a_second_attempt_beside_the_first_is_told_and_looked_at_again():
    hedged = note(hedge=Hedged("won", "other", 0.25), usage=Usage(50, 64, 114))
    said, clean = line(hedged, REDACTOR)
    assert json.loads(said)["hedge"] == {
        "outcome": "won",
        "wasted_at": "other",
        "wasted_ms": 250.0,
        "wasted_prompt_tokens": 50,
    }
    assert not clean


def test_calls_that_differ_in_anything_do_not_share_a_line():
    lines, seen = LogLines(), []
    for name in ("tenant", "key_id", "model", "backend", "reason"):
        for value in ("a", "b"):
            found = json.loads(line(note(**{name: value}), REDACTOR, lines)[0])
            assert found[name] == value
            seen.append(found)
    for outcome in ("ok", "failed"):
        assert json.loads(line(note(outcome=outcome), REDACTOR, lines)[0])["outcome"] == outcome
    for attempts in (1, 2):
        assert json.loads(line(note(attempts=attempts), REDACTOR, lines)[0])["attempts"] == attempts


def test_another_redactor_looks_anew():
    lines, one = LogLines(), note(model="bob@example.org")
    assert line(one, Redactor(kinds=("card",)), lines)[1]
    assert not line(one, REDACTOR, lines)[1]


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "bob@example.org",
            "a secret of ours",
            "4111 1111 1111 1111",
            "10.0.0.9",
            'sk-"A1b2C3d4E5f6G7h8',
            "x" * 9000,
            "/v1/mail/bob@example.org",
            "\nsk-A1b2C3d4E5f6G7h8",
            "chat",
        ]
    ),
)


@settings(max_examples=examples(150), deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(("tenant", "key_id", "model", "backend", "reason"), _TEXTS)),
    _TEXTS,
    st.one_of(st.none(), st.from_regex(rb"[!-~]{1,40}", fullmatch=True), st.just(b"bob@example.org")),
)
def test_nothing_is_hidden_of_a_line_that_is_called_clean(given, path, client_id):
    one = note(client_id, path.encode("utf-8", "surrogatepass"), **given)
    said, clean = line(one, REDACTOR)
    hidden = HIDING.block(said)
    assert json.loads(said)["client_request_id"] == (client_id and client_id.decode())
    if clean:
        assert json.loads(hidden) == json.loads(said)


def test_what_is_alike_is_kept_only_for_calls_and_only_so_often():
    lines = LogLines()
    for number in range(3000):
        line(note(tenant=f"t{number}"), None, lines)
        line(note(path=b"/%d" % number, kind="none"), None, lines)
    assert len(lines._kept) <= 1024
    assert all(key[3] == b"/v1/chat/completions" for key in lines._kept)
