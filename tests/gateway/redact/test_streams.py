"""However a text is cut, what comes out is what comes out of the whole; and little of it is held."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.redact import Redactor
from gateway.redact.machine import WORD_BYTES
from gateway.redact.patterns import PATTERNS, SPAN, WORD_CHARS
from tests.examples import examples

SECRET = 'a "known" secret, with breaks'
REDACTOR = Redactor(secrets=[SECRET, "x" * 400], budget_s=60)
CORPUS = (Path(__file__).parent / "corpus.txt").read_bytes()

words = st.sampled_from(
    [
        *(line for line in CORPUS.splitlines()),
        b"4111 1111 1111 1111",
        b"DE89 3704 0044 0532 0130 00",
        b"bob@example.org",
        b"+49 30 901820",
        b"-----BEGIN PRIVATE KEY-----",
        b"-----END PRIVATE KEY-----",
        b"-----END EC PRIVATE KEY-----",
        b"y" * (WORD_BYTES - 1),
        b"z" * (WORD_BYTES + 1),
        b"4 " * 40,
        b"+1 ",
        b"@",
        b"a@",
        b"eyJ",
        b"::",
        SECRET.encode(),
        b"x" * 400,
        b"\xc2\xa0",
        b"\xff\xfe",
    ]
)
joints = st.sampled_from([b"", b" ", b"\n", b'"', b"-", b".", b",", b"@", b":", b"\\n", b"1", b"a"])
texts = st.lists(st.tuples(words | st.binary(max_size=12), joints), max_size=12).map(
    lambda parts: b"".join(word + joint for word, joint in parts)
)


def streamed(text: bytes, cuts: list[int]) -> tuple[bytes, int]:
    """What comes out, and the most that was held."""
    stream = REDACTOR.stream()
    out, held, at = [], 0, 0
    for cut in [*sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]:
        out.append(stream.feed(text[at:cut]))
        held = max(held, stream.held)
        at = cut
    out.append(stream.finish())
    return b"".join(out), held


@given(texts, st.lists(st.integers(0, 2**20), max_size=40))
@settings(max_examples=examples(150), deadline=None)
def test_pieces_are_hidden_as_the_whole_is(text, cuts):
    out, _ = streamed(text, cuts)
    assert out == REDACTOR.bytes(text)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_so_is_the_corpus_in_small_pieces(size):
    out, held = streamed(CORPUS, list(range(0, len(CORPUS), size)))
    assert out == REDACTOR.bytes(CORPUS)
    assert held <= SPAN + WORD_BYTES


@given(
    st.lists(st.sampled_from([b"z" * 5000, b"4 ", b"w" * 8000, b" ", b"@", b"-----BEGIN PRIVATE KEY-----"]))
)
@settings(max_examples=examples(60), deadline=None)
def test_what_is_held_has_a_bound(pieces):
    stream = REDACTOR.stream()
    for piece in pieces:
        stream.feed(piece)
        assert stream.held <= SPAN + 2 * WORD_BYTES + len(piece) + 1


def test_a_number_cut_by_a_chunk_is_not_let_through():
    stream = Redactor().stream()
    out = b"".join(map(stream.feed, [b"card 4111 11", b"11 1111 11", b"11, thanks to bob@exam", b"ple.org"]))
    assert out + stream.finish() == b"card [redacted:card], thanks to [redacted:email]"


def test_a_secret_key_hides_all_up_to_its_end_and_without_one_all_there_is():
    text = b"a -----BEGIN RSA PRIVATE KEY-----\nbob " + b"MII " * 9000
    assert Redactor().bytes(text) == b"a [redacted:key]"
    assert Redactor().bytes(text + b"\n-----END RSA PRIVATE KEY----- b") == b"a [redacted:key] b"


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
@given(data=st.data())
@settings(max_examples=examples(15), deadline=None)
def test_a_pattern_keeps_the_rules_of_the_machine(pattern, data):
    """Its first byte is among those it names and ends no word; before the last word it is short."""
    found = data.draw(st.from_regex(pattern.source.replace(rb"\B", b"").replace(rb"\b", b""), fullmatch=True))
    assert found[0] in pattern.first
    assert found[0] in WORD_CHARS
    breaks = [at for at, byte in enumerate(found) if byte not in WORD_CHARS]
    assert max(breaks, default=0) < SPAN
