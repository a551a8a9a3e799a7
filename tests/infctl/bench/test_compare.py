"""Is B worse? Asked of runs in virtual time whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infctl.bench import compare as module
from infctl.bench.compare import Comparison, compare, effect, grade
from infctl.bench.record import Record

from .virtual import side

TRIES = 12
"""Of the hundred that `make proof-compare` takes."""


def once(seed: int, slowed: float = 1.0) -> Comparison:
    return compare([(side(seed, "a"), side(seed, "b", slowed=slowed))])


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 400)
    monkeypatch.setattr(module, "P95_RESAMPLES", 100)


def test_two_runs_of_one_server_do_not_differ() -> None:
    told = [once(seed).grade for seed in range(TRIES)]
    assert sum(one in {"same", "unclear"} for one in told) >= TRIES - 2, told


def test_a_server_slower_by_5_percent_is_found() -> None:
    told = [once(seed, 1.05).grade for seed in range(TRIES)]
    assert told.count("worse") >= TRIES - 3, told


def test_pairs_in_turns_find_what_drifts_alike() -> None:
    """Each pair has a speed of its own; within a pair B is slower by 5 %."""
    pairs = [
        (
            side(pair, "a", slowed=1 + pair / 10, requests=60),
            side(pair, "b", slowed=(1 + pair / 10) * 1.05, requests=60),
        )
        for pair in range(8)
    ]
    found = compare(pairs)
    assert found.grade == "worse"
    assert found.pairs == 8
    row = {row.metric: row for row in found.differences}["e2e"]
    assert 0.0 < row.low < 0.05 < row.high < 0.20
    alike = compare(
        [(a, side(number, "c", slowed=1 + number / 10, requests=60)) for number, (a, _) in enumerate(pairs)]
    )
    assert alike.grade in {"same", "unclear"}


def test_a_faster_server_is_better_and_its_effect_is_told() -> None:
    found = once(3, 0.8)
    assert found.grade == "better"
    assert all(row.effect < 0.5 for row in found.differences)
    assert all(row.change == pytest.approx(-0.2, abs=0.05) for row in found.differences)


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ((0.05, 0.03, 0.07), "worse"),
        ((0.01, 0.005, 0.015), "same"),
        ((0.05, -0.01, 0.11), "unclear"),
        ((-0.05, -0.07, -0.03), "better"),
        ((0.0, -0.03, 0.03), "unclear"),
        ((0.0, -0.01, 0.01), "same"),
    ],
)
def test_a_grade_is_of_the_interval_and_the_margin(figures: tuple[float, float, float], told: str) -> None:
    assert grade(*figures, margin=0.02) == told


def test_the_effect_is_the_share_of_pairs_in_which_b_is_slower() -> None:
    assert effect([1, 2, 3], [1, 2, 3]) == 0.5
    assert effect([1, 2], [3, 4]) == 1.0
    assert effect([2, 2], [1, 3]) == 0.5


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ({}, {"lengths_in": "96"}, "other load: lengths_in is 48 in A and 96 in B"),
        ({}, {"concurrency": 8}, "other load: concurrency"),
        ({}, {"failed": 40}, "other failures: 0.0% of A failed (none), 10.0% of B (40 truncated)"),
        ({"requests": 20}, {}, "A has only 20 requests"),
    ],
)
def test_what_cannot_be_compared_is_not(a: dict[str, object], b: dict[str, object], said: str) -> None:
    found = compare([(side(1, "a", **a), side(1, "b", **b))])  # type: ignore[arg-type]
    assert found.grade == "incomparable"
    assert any(reason.startswith(said) for reason in found.reasons), found.reasons
    assert found.differences == ()


def test_an_invalid_run_and_other_tokens_are_not_compared() -> None:
    a, b = side(1, "a"), side(1, "b")
    invalid = compare([(a, replace(b, grade="invalid"))])
    assert invalid.reasons == ("B is of a run that is invalid",)

    def longer(record: Record) -> Record:
        return Record(
            **{name: getattr(record, name) for name in record.__struct_fields__} | {"tokens_in": 60}
        )

    other = compare([(a, replace(b, records=[longer(record) for record in b.records]))])
    assert other.reasons == ("other populations: 50.0 tokens in a request in A, 60.0 in B",)


def test_a_comparison_is_the_same_each_time() -> None:
    assert once(4) == once(4)


def test_the_p95s_have_an_interval_that_holds_what_is_known() -> None:
    """Of a server slower by 15 % it is all above 0 and around 15 %; of the same server 0 is in it."""
    slower = [row for seed in range(3) for row in once(seed, 1.15).differences]
    held = [row.p95 is not None and row.p95[0] <= 0.15 <= row.p95[1] for row in slower]
    assert sum(held) >= 7, slower
    assert all(row.p95_change > 0 for row in slower)
    same = [row for seed in range(3) for row in once(seed).differences]
    assert sum(row.p95 is not None and row.p95[0] <= 0 <= row.p95[1] for row in same) >= 7, same


def test_of_few_requests_a_p95_has_no_interval() -> None:
    few = compare([(side(1, "a", requests=60), side(1, "b", requests=60))])
    assert {row.p95 for row in few.differences} == {None}
    assert all(row["p95_low"] is None for row in module.as_data(few)["differences"])
