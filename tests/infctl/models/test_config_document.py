"""The text of a config.json: what is read, what is refused, and where everything stands."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.errors import Location, PlanError, Problem
from infctl.models.document import BYTES_MAX, DEPTH_MAX, read_config
from tests.examples import examples


def _refused(text: str) -> tuple[Problem, ...]:
    with pytest.raises(PlanError) as caught:
        read_config(text, "config.json")
    assert caught.value.exit_code == 4
    assert all(problem.where is not None for problem in caught.value.problems)
    return caught.value.problems


def test_every_value_has_its_place() -> None:
    text = '{\n  "a": 1,\n  "b": {"c": [10, {"d": "x"}], "e": {}},\n  "f": []\n}\n'
    tree, where = read_config(text, "c.json")
    assert tree == {"a": 1, "b": {"c": [10, {"d": "x"}], "e": {}}, "f": []}
    assert where("a") == Location("c.json", 2, 8)
    assert where("b/c/0") == Location("c.json", 3, 15)
    assert where("b/c/1/d") == Location("c.json", 3, 25)
    assert where("b/e") == Location("c.json", 3, 37)
    assert where("f") == Location("c.json", 4, 8)


def test_what_is_not_there_has_the_place_of_what_should_hold_it() -> None:
    _, where = read_config('{\n  "b": {"c": 1}\n}', "c.json")
    assert where("b/x/y") == Location("c.json", 2, 8)
    assert where("nothing") == Location("c.json", 1, 1)


@pytest.mark.parametrize(
    ("text", "place", "says", "hint"),
    [
        ("", "config.json:1:1", "the file is empty", "fetch"),
        ('{"a": 1,}', "config.json:1:9", "not JSON", "commas"),
        ('{\n "a": 1\n "b": 2}', "config.json:3:2", "not JSON", "commas"),
        ('{"a": ', "config.json:1:7", "not JSON", "commas"),
        ("<html>", "config.json:1:1", "not JSON", "web page"),
        ("version https://git-lfs.github.com/spec/v1\n", "config.json:1:1", "not JSON", "git lfs pull"),
        ("[1]", "config.json:1:1", "this is a list", "begins with {"),
        ('  "x"', "config.json:1:3", "this is a text", "begins with {"),
        ("[" * 5000, f"config.json:1:{DEPTH_MAX + 1}", "nested more than", ""),
        ('{"a":' * 5000, f"config.json:1:{5 * DEPTH_MAX + 1}", "nested more than", ""),
        ('{"a": 1' + "0" * 5000 + "}", "config.json:1:1", "thousands of digits", ""),
        (" " * (BYTES_MAX + 1), "config.json:1:1", "bytes long", "weights"),
    ],
)
def test_what_is_no_config_is_refused_with_its_place(text: str, place: str, says: str, hint: str) -> None:
    (problem,) = _refused(text)
    assert str(problem.where) == place
    assert says in problem.message
    assert hint in problem.hint


def test_a_key_written_twice_is_told_with_both_places() -> None:
    (problem,) = _refused('{\n "t": {\n  "a": 1,\n  "a": 2}}')
    assert str(problem) == "config.json:4:3  t/a: is written twice, first in line 3"


def test_infinity_passes_as_python_writes_it() -> None:
    tree, _ = read_config('{"time_step_limit": [0.0, Infinity]}', "c.json")
    assert tree["time_step_limit"][1] == float("inf")


def test_brackets_in_words_are_not_depth() -> None:
    tree, _ = read_config(json.dumps({"a": "[{" * 100, "b": ['\\"['] * 50}), "c.json")
    assert len(tree["a"]) == 200


def test_half_a_surrogate_pair_is_read() -> None:
    tree, where = read_config('{"a\\ud800": "\ud800", "b": 1}', "c.json")
    assert tree["b"] == 1
    assert where("b") == Location("c.json", 1, 23)


def test_places_in_a_hostile_file_are_given_up_on_in_time() -> None:
    _, where = read_config('{"x": [' + "1," * 1_000_000 + '1], "y": 2}', "c.json")
    start = time.monotonic()
    assert where("y") == Location("c.json", 1, 1)
    assert time.monotonic() - start < 10


def test_quotes_without_an_end_are_refused_in_time() -> None:
    start = time.monotonic()
    _refused('{"a": "' + '\\"' * 1_000_000)
    assert time.monotonic() - start < 10


@settings(max_examples=examples(100), deadline=None)
@given(text=st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    with suppress(PlanError):
        _, where = read_config(text, "c.json")
        assert where("") is not None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=examples(100), deadline=None)
@given(
    tree=st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda key: "/" not in key), VALUES, max_size=4
    ),
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
)
def test_every_top_key_is_found_where_it_stands(
    tree: dict[str, object], indent: int | None, *, ascii_only: bool
) -> None:
    text = json.dumps(tree, indent=indent, ensure_ascii=ascii_only)
    read, where = read_config(text, "c.json")
    assert read == tree
    lines = text.split("\n")
    for key, value in tree.items():
        place = where(key)
        assert place is not None
        rest = "\n".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])
        assert json.JSONDecoder().raw_decode(rest)[0] == value
