"""Percentiles and means, against definitions written another way."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infctl.bench import numbers

VALUES = st.lists(st.floats(0, 1e4), min_size=1, max_size=400)


@given(VALUES)
def test_mean_and_deviation_are_what_exact_arithmetic_says(values: list[float]) -> None:
    assert numbers.mean(values) == pytest.approx(math.fsum(values) / len(values), rel=1e-12, abs=1e-12)
    assert numbers.deviation(values) == pytest.approx(statistics.pstdev(values), rel=1e-6, abs=1e-6)


@given(VALUES, st.sampled_from([0, 1, 25, 50, 75, 90, 99, 99.9, 100]))
def test_a_percentile_lies_between_its_two_neighbours(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    place = percent / 100 * (len(ordered) - 1)
    found = numbers.percentile(ordered, percent)
    assert (
        ordered[math.floor(place)] - 1e-9 <= found <= ordered[min(math.ceil(place), len(ordered) - 1)] + 1e-9
    )


@given(VALUES)
def test_the_middle_is_the_median(values: list[float]) -> None:
    assert numbers.median(sorted(values)) == pytest.approx(statistics.median(values))


@given(VALUES, st.integers(0, 400), st.sampled_from([50, 90, 99, 99.9]))
def test_a_failure_is_an_answer_that_never_came(values: list[float], failures: int, percent: float) -> None:
    found = numbers.reached(sorted(values), failures, percent)
    everyone = [*values, *[math.inf] * failures]
    within = sum(value <= found for value in everyone) / len(everyone)
    assert within >= percent / 100 - 1e-9
    assert found in everyone
