"""The balancing policies: shares, bounds, and keys that stay where they are."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Backend as Wanted
from gateway.config import Breaker
from gateway.policy import choice
from gateway.policy.backend import Backend
from tests.examples import examples


def backends(*weights: float) -> list[Backend]:
    return [
        Backend(Wanted(id=f"b{n}", url=f"http://b{n}:1", weight=weight), "m", Breaker(), 0.0)
        for n, weight in enumerate(weights)
    ]


def test_weighted_gives_each_its_share_evenly_spread():
    group = backends(5.0, 1.0, 1.0)
    order = [choice.weighted(group).id for _ in range(7)]
    assert Counter(order) == {"b0": 5, "b1": 1, "b2": 1}
    assert order != sorted(order)
    assert Counter(choice.weighted(group).id for _ in range(700))["b0"] == 500


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 4))
@settings(max_examples=examples(100), deadline=None)
def test_weighted_is_exact_after_each_round(weights, rounds):
    group = backends(*map(float, weights))
    counts = Counter(choice.weighted(group).id for _ in range(sum(weights) * rounds))
    assert counts == {f"b{n}": weight * rounds for n, weight in enumerate(weights)}


def test_power_of_two_takes_the_less_busy_of_the_two_drawn():
    group = backends(1, 1, 1, 1)
    for n, backend in enumerate(group):
        backend.in_flight = n
    draws = iter([0.9, 0.5])  # b3, then the second of the other three from there: b1
    assert choice.power_of_two(group, lambda: next(draws)).id == "b1"


def test_power_of_two_never_takes_the_busiest_of_many():
    group, dice = backends(*[1.0] * 5), random.Random(1)
    group[2].in_flight = 10
    counts = Counter(choice.power_of_two(group, dice.random).id for _ in range(2000))
    assert "b2" not in counts
    assert min(counts.values()) > 350


def test_one_candidate_is_the_choice():
    [only] = backends(1.0)
    assert choice.power_of_two([only], lambda: 0.999) is only
    assert choice.keyed([only], b"k", 1.0) is only
    assert choice.least_in_flight([only], 7) is only


def test_a_key_stays_with_its_backend_and_only_those_of_a_gone_one_move():
    group = backends(1, 1, 1, 1)
    keys = [f"key {n}".encode() for n in range(400)]
    before = {key: choice.keyed(group, key, 10.0).id for key in keys}
    assert min(Counter(before.values()).values()) > 60
    after = {key: choice.keyed(group[1:], key, 10.0).id for key in keys}
    assert all(after[key] == before[key] for key in keys if before[key] != "b0")
    assert {after[key] for key in keys if before[key] == "b0"} == {"b1", "b2", "b3"}


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200),
    st.integers(2, 6),
    st.sampled_from([1.0, 1.25, 2.0]),
)
@settings(max_examples=examples(100), deadline=None)
def test_no_key_makes_a_backend_busier_than_the_bound(steps, size, bound):
    group = backends(*[1.0] * size)
    held: list[Backend] = []
    for key, leaves in steps:
        if leaves and held:
            held.pop(0).in_flight -= 1
        chosen = choice.keyed(group, b"%d" % key, bound)
        most = bound * (len(held) + 1) / size
        assert chosen.in_flight + 1 <= most or chosen.in_flight == min(each.in_flight for each in group)
        chosen.in_flight += 1
        held.append(chosen)
