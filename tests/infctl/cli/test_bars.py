"""A bar says where memory goes: its width is kept, and nothing that is there goes unseen."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from infctl.cli.bars import ASCII, UNICODE, Part, bar

PARTS = st.lists(st.tuples(st.sampled_from(get_args(Part)), st.integers(0, 2**40)), max_size=9)


@given(PARTS, st.integers(0, 60))
def test_a_bar_is_as_wide_as_asked(parts: list[tuple[Part, int]], width: int) -> None:
    there = sum(count for _, count in parts)
    assert len(bar(parts, width, UNICODE)) == (width if there else 0)


@given(PARTS, st.integers(9, 60))
def test_what_an_engine_holds_is_seen(parts: list[tuple[Part, int]], width: int) -> None:
    drawn = bar(parts, width, ASCII)
    for part, count in parts:
        if count and part not in {"free", "kept"}:
            assert ASCII.of(part) in drawn


@given(PARTS, st.integers(20, 60))
def test_shares_are_true_to_two_characters_and_the_lifted_ones(
    parts: list[tuple[Part, int]], width: int
) -> None:
    there = [(part, count) for part, count in parts if count]
    total = sum(count for _, count in there)
    drawn = bar(parts, width, ASCII)
    for part in {part for part, _ in there}:
        share = sum(count for one, count in there if one == part) * width / total
        assert abs(drawn.count(ASCII.of(part)) - share) <= len(there) + 1


def test_a_bar_in_order() -> None:
    parts: list[tuple[Part, int]] = [("weights", 14), ("work", 2), ("kv", 4), ("kept", 1), ("free", 1)]
    assert bar(parts, 22, ASCII) == "##############++====-."
    assert bar(parts, 11, UNICODE) == "███████▓▒▒╌"


def test_the_glyphs_differ_without_colour() -> None:
    for glyphs in (ASCII, UNICODE):
        signs = [glyphs.of(part) for part in get_args(Part)]
        assert len(set(signs)) == len(signs)
        assert all(len(sign) == 1 for sign in signs)
