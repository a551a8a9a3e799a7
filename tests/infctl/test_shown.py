"""What others wrote is shown as text, and moves nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.shown import shown
from tests.examples import examples


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("data-team", "data-team"),
        ("", ""),
        ("Zoë 漢字", "Zoë 漢字"),
        ('a"b\nc\td', 'a"b\\nc\\td'),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("right\u202eleft", "right\\u202eleft"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_would_move_the_terminal_is_written_out(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_what_is_long_is_cut_with_an_ellipsis() -> None:
    assert shown("x" * 10_000, 20) == "x" * 19 + "…"
    assert shown("x" * 20, 20) == "x" * 20
    assert shown("x" * 18 + "\x1b", 20) == "x" * 18 + "…"
    assert shown("xy", 0) == ""


def test_marks_do_not_climb_over_other_lines() -> None:
    assert shown("a" + "\u0301" * 100 + "b") == "a" + "\u0301" * 4 + "b"


@settings(max_examples=examples(100))
@given(st.text(), st.integers(1, 50))
def test_it_is_printable_and_fits(text: str, room: int) -> None:
    seen = shown(text, room)
    assert seen.isprintable()
    assert len(seen) <= room
