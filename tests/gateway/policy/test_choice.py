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


ALL = [f"r{n}" for n in range(8)]


def replicas(ids, busy=None) -> list[Backend]:
    made = [Backend(Wanted(id=each, url=f"http://{each}:1"), "m", Breaker(), 0.0) for each in sorted(ids)]
    for backend in made:
        backend.in_flight = (busy or {}).get(backend.id, 0)
    return made


@given(
    st.sets(st.sampled_from(ALL), min_size=2),
    st.sampled_from(ALL),
    st.lists(st.binary(max_size=20), max_size=30),
)
@settings(max_examples=examples(100), deadline=None)
def test_a_replica_that_comes_takes_keys_from_all_and_moves_no_other(ids, newcomer, keys):
    """And one that goes gives its own back: the same thing seen from behind."""
    before, after = replicas(ids - {newcomer}), replicas(ids | {newcomer})
    if not before:
        return
    for key in keys:
        was, now = choice.keyed(before, key, 1.25).id, choice.keyed(after, key, 1.25).id
        assert now in {was, newcomer}


@given(
    st.dictionaries(st.sampled_from(ALL), st.integers(0, 20), min_size=2),
    st.binary(max_size=20),
    st.sampled_from([1.0, 1.25, 2.0]),
)
@settings(max_examples=examples(300), deadline=None)
def test_a_key_leaves_its_replica_only_when_that_is_above_the_bound(busy, key, bound):
    """`in flight + 1 > bound x mean`, this call counted in: then to the next in its own order that is not."""
    idle, group = replicas(busy), replicas(busy, busy)
    mean = (sum(busy.values()) + 1) / len(group)
    home, chosen = choice.keyed(idle, key, bound).id, choice.keyed(group, key, bound)
    over = {each.id for each in group if each.in_flight + 1 > bound * mean}
    if home not in over:
        assert chosen.id == home
    elif len(over) < len(group):
        assert chosen.id not in over
        rest = [each for each in idle if each.id not in over]
        assert chosen.id == choice.keyed(rest, key, bound).id
    else:
        assert chosen.in_flight == min(busy.values())


@given(st.dictionaries(st.sampled_from(ALL), st.integers(0, 20), min_size=3), st.data())
@settings(max_examples=examples(200), deadline=None)
def test_when_a_replica_goes_only_its_keys_move_and_those_that_overload_moves(busy, data):
    lost = data.draw(st.sampled_from(sorted(busy)))
    rest = {each: count for each, count in busy.items() if each != lost}
    before, after = replicas(busy, busy), replicas(rest, rest)
    bounds = [1.25 * (sum(each.in_flight for each in group) + 1) / len(group) for group in (before, after)]
    for n in range(20):
        was, now = (choice.keyed(group, b"%d" % n, 1.25) for group in (before, after))
        if was.id in {lost, now.id}:
            continue
        home = choice.keyed(replicas(busy), b"%d" % n, 1.25).id
        load = busy[home] + 1
        assert home == lost or load > min(bounds)  # at home it would be in one of the two
