"""The table of interpolation.py, line by line."""

# ruff: noqa: E501 - expected lines are read whole; an answer may be a value or an error

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infctl.profile.interpolation import expand
from infctl.profile.values import Misfit

ENV = {"SET": "x", "EMPTY": "", "OTHER": "y"}

FILLED = [
    ("${SET}", "x"), ("${EMPTY}", ""), ("a${SET}b", "axb"), ("${SET}${OTHER}", "xy"),
    ("${SET-d}", "x"), ("${EMPTY-d}", ""), ("${NOT-d}", "d"),
    ("${SET:-d}", "x"), ("${EMPTY:-d}", "d"), ("${NOT:-d}", "d"), ("${NOT:-}", ""), ("${NOT-}", ""),
    ("${SET?m}", "x"), ("${EMPTY?m}", ""), ("${SET:?m}", "x"),
    ("${NOT:-${OTHER}}", "y"), ("${NOT:-a${ALSO:-${SET}}b}", "axb"), ("${SET:-${NOT}}", "x"),
    ("$$", "$"), ("$${SET}", "${SET}"), ("$$$$", "$$"), ("${NOT:-$$}", "$"), ("plain", "plain"), ("", ""),
    ("${NOT:-a:b?c-d}", "a:b?c-d"),
]  # fmt: skip

REFUSED = [
    ("${NOT}", "NOT is not set"),
    ("${NOT:?say it}", "NOT is not set: say it"),
    ("${NOT?say it}", "NOT is not set: say it"),
    ("${EMPTY:?say it}", "EMPTY is empty: say it"),
    ("${NOT:?}", "NOT is not set"),
    ("$SET", "a lone $"),
    ("a$", "a lone $"),
    ("${SET", "${ is not closed"),
    ("${}", "${} is not understood"),
    ("${1A}", "${1A} is not understood"),
    ("${SET:+a}", "${SET:+a} is not understood"),
    ("${S-ET", "${ is not closed"),
    ("${SET }", "${SET } is not understood"),
    ("${N:-" * 12 + "x" + "}" * 12, "variables are nested more than 8 deep"),
]


@pytest.mark.parametrize(("text", "expected"), FILLED)
def test_it_is_filled_in(text, expected):
    assert expand(text, ENV).text == expected


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_it_is_refused(text, message):
    with pytest.raises(Misfit) as caught:
        expand(text, ENV)
    assert caught.value.message == message
    assert caught.value.hint


@given(st.text(alphabet="${}:-?ABab \n", max_size=60))
def test_any_text_is_filled_in_or_refused(text):
    try:
        expand(text, {"A": "1", "B": ""})
    except Misfit:
        return


@given(st.text(max_size=40))
def test_a_doubled_dollar_is_a_dollar(text):
    assert expand(text.replace("$", "$$"), {}).text == text


def test_a_whole_value_may_be_a_number_or_a_text_as_the_field_wants(desk, smallest):
    loaded = desk.load(
        f'{smallest}logs: {{keep: "${{KEEP}}"}}\nengines: {{env: {{A: "${{KEEP}}"}}}}\nedge: {{http2: "${{H2:-false}}"}}\n',
        env={"KEEP": "7"},
    )
    assert loaded.profile.logs.keep == 7
    assert loaded.profile.engines.env == {"A": "7"}
    assert loaded.profile.edge.http2 is False


def test_a_wrong_value_from_a_variable_is_told_at_the_place_that_uses_it(desk, smallest):
    said = desk.says(f"{smallest}logs:\n  keep: ${{KEEP}}\n", env={"KEEP": "many"})
    assert said == [
        'box.yaml:4:9  logs/keep: "many" is not a whole number | a number without quotes or a fraction: 2'
    ]


def test_an_empty_variable_leaves_the_default(desk, smallest):
    assert desk.load(f"{smallest}logs:\n  keep: ${{KEEP:-}}\n").profile.logs.keep == 5
