"""Durations, sizes, counts, shares: what is read, what is refused, and that what is written is read back."""

# ruff: noqa: PT017 - expected lines are read whole; an answer may be a value or an error

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infctl.profile import values
from infctl.profile.values import Misfit

READ = [
    (values.duration, "2s", 2.0), (values.duration, "500ms", 0.5), (values.duration, "90min", 5400.0),
    (values.duration, "1h30m", 5400.0), (values.duration, "2.5s", 2.5), (values.duration, "1d", 86400.0),
    (values.duration, 5, 5.0), (values.duration, 0.1, 0.1), (values.duration, " 1h 30min ", 5400.0),
    (values.size, "8MiB", 8 * 2**20), (values.size, "1.5GiB", 3 * 2**29), (values.size, "500MB", 500_000_000),
    (values.size, "64 KiB", 65536), (values.size, 7, 7), (values.size, "0B", 0),
    (values.count, "10M", 10_000_000), (values.count, "100k", 100_000), (values.count, "1.5M", 1_500_000),
    (values.count, "8192", 8192), (values.count, 3, 3), (values.count, "1B", 10**9),
    (values.percent, "99.9%", 0.999), (values.percent, "100 %", 1.0), (values.percent, 0.9, 0.9),
]  # fmt: skip

REFUSED = [
    (
        values.duration,
        ["", "s", "2", "-2s", "2 weeks", "1e3s", "2s!", True, None, [], {}, float("nan"), float("inf")],
    ),
    (values.size, ["", "8", "8mb", "8MiBs", "-1MiB", "1.3B", 1.5, True, None, "9" * 99 + "GiB"]),
    (values.count, ["", "k", "-1", "1.2345k", "10m", "8KiB", 1.5, True, None]),
    (values.percent, ["", "99.9", "%", "-1%", True, None, "99,9%"]),
]


@pytest.mark.parametrize(("parse", "text", "number"), READ)
def test_it_is_read(parse, text, number):
    assert parse(text) == number


@pytest.mark.parametrize(("parse", "text"), [(parse, text) for parse, texts in REFUSED for text in texts])
def test_it_is_refused_with_an_example(parse, text):
    with pytest.raises(Misfit) as caught:
        parse(text)
    assert caught.value.hint


@given(st.integers(0, 10**12))
def test_what_is_written_is_read_back(number):
    assert values.size(values.format_size(number)) == number
    assert values.count(values.format_count(number)) == number
    assert values.duration(values.format_duration(number / 1000)) == number / 1000


@given(st.integers(1, 10**6))
def test_a_share_is_read_back(millionths):
    assert values.percent(values.format_percent(millionths / 10**6)) == pytest.approx(
        millionths / 10**6, rel=1e-12
    )


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("5400s", "90min"),
        ("120s", "2min"),
        ("1.5s", "1.5s"),
        ("0.5s", "500ms"),
        ("24h", "1d"),
        ("36h", "36h"),
    ],
)
def test_a_duration_has_one_canonical_form(text, canonical):
    assert values.format_duration(values.duration(text)) == canonical


@given(
    st.one_of(
        st.text(max_size=80), st.integers(), st.floats(), st.none(), st.booleans(), st.binary(max_size=9)
    )
)
def test_anything_is_read_or_refused(value):
    for parse in (values.duration, values.size, values.count, values.percent):
        try:
            assert parse(value) >= 0 or not isinstance(value, str)
        except Misfit as error:
            assert "\n" not in error.message
