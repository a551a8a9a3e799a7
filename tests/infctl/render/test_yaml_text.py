"""YAML with comments: what is written is read back as it was, and reads as it was meant."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infctl.render.yaml_text import Entry, Item, Merged, Row, Rows, dump, scalar

ODD = (
    "", " ", "yes", "No", "null", "~", "1", "1.5", "1e3", "0x1f", "010", "1:30", "2026-01-02", ".5", "+1",
    "-", ".NaN", "-.inf",
    "--", "---", "...", "a: b", "a #b", "#a", "*a", "&a", "!a", "%a", "@a", "`a", "[a]", "{a}", "a,b", "'a'",
    '"a"', "a\\b", "a\nb", "a\tb", "é", "日本", "\u2028", "\x7f", "\x85", "<<", "=", "?", "| a", "> a", "on",
    "NaN", ".inf", "0b1", "1_000", "a:", ":a", "\U0001f600",
)  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_a_text_stays_a_text(text: str) -> None:
    assert yaml.safe_load(dump([Entry("a", text)])) == {"a": text}
    assert yaml.safe_load(dump([Entry("a", {"b": (text,)})])) == {"a": {"b": [text]}}


@pytest.mark.parametrize(
    "text", ["nginx:1.31", "./gateway", "--max-model-len", "8gb", "900s", "a/b@sha256:0f"]
)
def test_usual_words_need_no_quotes(text: str) -> None:
    assert scalar(text) == text


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCALAR = st.one_of(TEXT, st.booleans(), st.integers(-(2**40), 2**40))
FLAT = st.one_of(SCALAR, st.lists(SCALAR, max_size=4).map(tuple), st.dictionaries(TEXT, SCALAR, max_size=3))


@given(data=st.dictionaries(TEXT, FLAT, min_size=1, max_size=5), why=TEXT)
def test_anything_is_read_back_whatever_the_comments_say(data: dict[str, Any], why: str) -> None:
    entries = [Entry(key, value, why, heading=why) for key, value in data.items()]
    expected = {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}
    assert yaml.safe_load(dump(entries, (why,))) == expected


@given(rows=st.lists(st.tuples(st.lists(TEXT, min_size=1, max_size=3), TEXT), min_size=1, max_size=5))
def test_rows_are_one_list(rows: list[tuple[list[str], str]]) -> None:
    made = Rows(tuple(Row(tuple(words), why) for words, why in rows))
    assert yaml.safe_load(dump([Entry("a", [Entry("b", made)])])) == {
        "a": {"b": [word for words, _ in rows for word in words]}
    }


def test_it_reads_as_it_was_meant() -> None:
    entries = [
        Entry("x", [Entry("deep", 1)], anchor="all", heading="said once"),
        Entry("list", [Item({"a": "b"}, "why"), Item("c")]),
        Entry("z", [Entry("own", True), Entry("<<", Merged("all"))], "beside"),
        Entry("command", Rows((Row(("--a", "1"), "one"), Row(("--b",))))),
    ]
    assert dump(entries, ("top",)) == (
        "# top\n\n# said once\nx: &all\n  deep: 1\nlist:\n  - {a: b} # why\n  - c\n"
        'z: # beside\n  own: true\n  <<: *all\ncommand: [\n    --a, "1", # one\n    --b\n  ]\n'
    )  # fmt: skip
    assert yaml.safe_load(dump(entries))["z"] == {"own": True, "deep": 1}


def test_a_comment_that_is_too_long_stands_above() -> None:
    assert dump([Entry("a", [Entry("b", 1, "w" * 110)])]) == f"a:\n  # {'w' * 110}\n  b: 1\n"
