"""Closed when it fails, linear whatever comes, one engine for text, JSON and log lines."""

from __future__ import annotations

import itertools
import json
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.redact import KINDS, Redactor
from gateway.redact.lines import Lines
from tests.examples import examples

SECRETS = ("client-key-canary", "short", "")


def test_what_takes_too_long_is_hidden_whole():
    ticks = itertools.count()
    redactor = Redactor(clock=lambda: float(next(ticks)), budget_s=3)
    assert redactor.text("bob@example.org") == "[redacted:email]"
    assert redactor.text("bob@example.org and " * 9) == "[redacted:failed]"
    assert redactor.counts == {"email": 1, "failed": 1}


def test_what_fails_is_hidden_whole_and_a_stream_says_so_once():
    redactor = Redactor()

    class Broken:
        def search(self, *_):
            raise MemoryError

    stream = redactor.stream()
    assert stream.feed(b"bob@example.org " * 40).startswith(b"[redacted:email] ")
    redactor.table.any = Broken()
    assert redactor.text("nothing at all") == "[redacted:failed]"
    assert stream.feed(b"anna@example.org " * 40) == b"[redacted:failed]"
    assert stream.feed(b"more") == stream.finish() == b""
    assert redactor.counts["failed"] == 2


def test_secrets_of_this_process_are_hidden_whatever_they_look_like():
    redactor = Redactor((), SECRETS)
    assert redactor.text("key=client-key-canary, short") == "key=[redacted:key], short"
    assert Redactor((), ["+49 " * 90]).text("a " + "+49 " * 90 + "b") == "a [redacted:key][redacted:key]b"


PATHOLOGICAL = {
    "digits and spaces": "1 ",
    "cards that are none": "4111 1111 1111 1112 ",
    "dots": "a.",
    "a word": "a",
    "ats": "a@a.",
    "plus": "+1 ",
    "colons": ":",
    "colons and digits": "1:",
    "ibans that are none": "DE89 ",
    "keys that are none": "sk-",
    "begins of keys": "-----BEGIN ",
    "assignments": "password: ",
    "jwts that are none": "eyJ0.",
    "nbsp": "1\u00a0",
}


@pytest.mark.parametrize("piece", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_time_grows_with_the_text_and_not_faster(piece):
    """CPU time: four times the text takes about four times as long; ten times would be 2.5 times too much."""
    redactor = Redactor(budget_s=600)

    def took(size: int) -> float:
        text = (piece * size)[:size].encode()
        best = 9e9
        for _ in range(3):
            began = time.thread_time()
            redactor.bytes(text)
            best = min(best, time.thread_time() - began)
        return best

    assert took(80_000) < 10 * took(20_000) + 0.02


def test_json_is_redacted_by_value_its_keys_and_long_numbers_too():
    value = {
        "a": ["bob@example.org", {"b": 4111111111111111}],
        "n": 1234,
        "t": True,
        "x": None,
        "anna@example.org": 1.5,
    }
    assert Redactor().value(value) == {
        "a": ["[redacted:email]", {"b": "[redacted:card]"}],
        "n": 1234,
        "t": True,
        "x": None,
        "[redacted:email]": 1.5,
    }


def test_json_that_is_too_deep_is_hidden_below():
    value = "bob@example.org"
    for _ in range(100):
        value = [value]
    text = json.dumps(Redactor().value(value))
    assert "bob" not in text
    assert "[redacted:failed]" in text


def line(**facts) -> bytes:
    return orjson.dumps({"ts": "2026-11-27T03:05:37.123Z", **facts}, option=orjson.OPT_APPEND_NEWLINE)


def test_clean_lines_are_the_same_bytes():
    block = line(event="request", path="/v1/chat/completions", total_ms=12.5, tenant="10.0.0.1") * 300
    redactor = Redactor()
    lines = Lines(redactor)
    assert lines.block(block) == block
    assert not redactor.counts


def test_a_line_is_redacted_as_what_it_says_and_stays_json():
    block = (
        line(a="x\nbob@example.org", n=4111111111111111) + line(b="fine") + line(c='q"\t4111 1111 1111 1111')
    )
    out = [json.loads(each) for each in Lines(Redactor()).block(block).splitlines()]
    assert out[0]["a"] == "x\n[redacted:email]"
    assert out[0]["n"] == 4111111111111111  # a number on the top is ours: bytes, tokens
    assert out[1]["b"] == "fine"
    assert out[2]["c"] == 'q"\t[redacted:card]'


def test_who_asked_is_written_as_it_is():
    lines = Lines(Redactor(KINDS))
    assert lines.block(line(tenant="192.0.2.1", why="192.0.2.1")) == line(
        tenant="192.0.2.1", why="[redacted:ip]"
    )


def test_a_line_that_cannot_be_redacted_is_hidden_and_the_others_are_not():
    out = Lines(Redactor()).block(line(a="fine") + b'{"a":"bob@example.org\n' + line(b="fine"))
    assert out.splitlines()[0] == line(a="fine").strip()
    assert json.loads(out.splitlines()[1])["event"] == "line_hidden"
    assert b"bob" not in out
    assert len(out.splitlines()) == 3


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "path", "why"]),
            st.lists(
                st.sampled_from(
                    ["bob@example.org", "4111111111111111", "192.0.2.1", "+49 30 901820", "ghp_" + "a1" * 20]
                )
                | st.text(alphabet='\n\t"\\ax1 \x00\x1f\u2028é-', max_size=4),
                max_size=6,
            ).map("".join),
        ),
        max_size=6,
    )
)
@settings(max_examples=examples(150), deadline=None)
def test_the_look_over_a_block_misses_nothing_that_a_look_at_each_value_finds(facts):
    """Escapes of JSON stand next to what is to be hidden."""
    lines = Lines(Redactor(KINDS))
    block = b"".join(line(**each) for each in facts)
    out = [json.loads(each) for each in lines.block(block).splitlines()]
    for got, each in zip(out, facts, strict=True):
        assert {name: got[name] for name in each} == {
            name: Redactor(KINDS).text(value) for name, value in each.items()
        }


TEXTS = st.lists(
    st.sampled_from(["bob@example.org", "192.0.2.1", '"tenant":"', "tenant", '":"', *'"{}[],:'])
    | st.text(alphabet="\n\\ax1 é", max_size=2),
    max_size=5,
).map("".join)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["tenant", "peer", "why", "a"]) | TEXTS,
            st.recursive(
                TEXTS | st.none() | st.integers(0, 99),
                lambda deeper: (
                    st.lists(deeper, max_size=2)
                    | st.dictionaries(st.sampled_from(["tenant", "why"]), deeper, max_size=2)
                ),
                max_leaves=4,
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=examples(200), deadline=None)
def test_only_a_lines_own_words_of_who_asked_are_passed_over(facts):
    """Whatever looks like them, deeper within a line or in a text."""
    lines = Lines(Redactor(KINDS))
    out = [json.loads(each) for each in lines.block(b"".join(line(**each) for each in facts)).splitlines()]
    for got, each in zip(out, facts, strict=True):
        expected = lines.facts(each)
        assert {name: got[name] for name in each} == {name: expected[name] for name in each}


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"a": {"tenant": "bob@example.org"}}, {"a": {"tenant": "[redacted:email]"}}),
        ({"a": [{"peer": "bob@example.org"}]}, {"a": [{"peer": "[redacted:email]"}]}),
        (
            {"a": '"tenant":"bob@example.org"', "tenant": "192.0.2.1"},
            {"a": '"tenant":"[redacted:email]"', "tenant": "192.0.2.1"},
        ),
        ({'x"tenant': "bob@example.org"}, {'x"tenant': "[redacted:email]"}),
        ({"tenant": "a", "why": "192.0.2.1"}, {"tenant": "a", "why": "[redacted:ip]"}),
        ({"tenant": 'a"', "peer": "bob@example.org"}, {"tenant": 'a"', "peer": "bob@example.org"}),
    ],
)
def test_what_only_looks_like_who_asked_is_hidden(facts, shown):
    out = json.loads(Lines(Redactor(KINDS)).block(line(**facts)))
    assert {name: out[name] for name in facts} == shown
