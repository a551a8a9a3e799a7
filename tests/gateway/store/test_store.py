"""One suite for every store: what the protocol promises, whichever answers."""

from __future__ import annotations

import pytest

from gateway.policy.exchange import Exchange, Grant, Line, Use
from gateway.policy.keys import created, revoked
from gateway.store.protocol import Store
from tests.gateway.store.conftest import NOON, Clock

DAY = ("tokens_per_day|tenant:t", "quota", "day", 1000)
TODAY = "2026-11-27"
SLOTS = ("in_flight|tenant:t", "slots", None, 4)
RATE = ("requests_per_second|tenant:t", "rate", None, 20, 10.0)


def line(what: tuple, **rest) -> Line:
    return Line(*what, **rest)


def one(store: Store, worker: str, seq: int, *lines: Line, **rest) -> tuple[Grant, ...]:
    return store.exchange(Exchange(worker, seq, lines, **rest)).grants


def test_a_grant_is_for_the_window_of_the_stores_clock(store: Store):
    [grant] = one(store, "a", 1, line(DAY, need=300, want=300))
    assert (grant.amount, grant.left, grant.period, grant.end_s) == (300, 700, TODAY, NOON + 43_200)
    [seen] = store.overview("tokens_per_day|")
    assert (seen.counter, seen.period, seen.settled, seen.leased) == (DAY[0], TODAY, 0, 300)


def test_settled_and_returned_leave_the_lease(store: Store):
    one(store, "a", 1, line(DAY, need=300, want=300))
    one(store, "a", 2, line(DAY, period=TODAY, settled=100, unknown=20, returned=150))
    [seen] = store.overview()
    assert (seen.settled, seen.unknown, seen.leased) == (100, 20, 50)


def test_more_than_there_is_is_not_granted(store: Store):
    one(store, "a", 1, line(DAY, need=900, want=900))
    [grant] = one(store, "b", 1, line(DAY, need=101, want=101))
    assert (grant.amount, grant.left, grant.final) == (0, 100, False)
    [grant] = one(store, "b", 2, line(DAY, need=100, want=100))
    assert (grant.amount, grant.left) == (100, 0)


def test_the_same_exchange_again_is_answered_as_before_and_counted_once(store: Store):
    given = Exchange("a", 1, (line(DAY, need=300, want=300),), (Use(TODAY, "t", "m", 1, 2, 3, 4),))
    assert store.exchange(given) == store.exchange(given)
    assert store.overview()[0].leased == 300
    given = Exchange("a", 2, (line(DAY, period=TODAY, settled=10, need=5, want=5),))
    assert store.exchange(given) == store.exchange(given)
    assert (store.overview()[0].settled, store.overview()[0].leased) == (10, 295)
    assert store.usage(TODAY, TODAY)[0].requests == 1


def test_hunger_is_heard_and_answered_and_then_nothing_left_is_final(store: Store):
    one(store, "a", 1, line(DAY, need=900, want=900))
    one(store, "b", 1, line(DAY, need=200, want=200))
    [hunger] = store.wanted("a")
    assert (hunger.counter, hunger.period) == (DAY[0], TODAY)
    assert store.wanted("b") == ()
    one(store, "a", 2, line(DAY, period=TODAY, returned=50, yielded=hunger.generation))
    assert store.wanted("a") == ()
    [grant] = one(store, "b", 2, line(DAY, need=200, want=200))
    assert (grant.amount, grant.left, grant.final) == (0, 150, True)
    [grant] = one(store, "b", 3, line(DAY, need=150, want=900))
    assert (grant.amount, grant.left) == (150, 0)


def test_hunger_is_forgotten_when_nobody_asks_any_longer(store: Store, clock: Clock):
    one(store, "a", 1, line(DAY, need=900, want=900))
    one(store, "b", 1, line(DAY, need=200, want=200))
    assert store.wanted("a") != ()
    clock.passes(0.6)
    assert store.wanted("a") == ()


def test_near_the_limit_nobody_takes_all_that_is_left(store: Store):
    one(store, "b", 1)
    [grant] = one(store, "a", 1, line(DAY, need=1, want=1000))
    assert grant.amount == 125


def test_a_dead_workers_slots_come_free_and_its_quota_counts_as_used(store: Store, clock: Clock):
    one(store, "a", 1, line(SLOTS, need=4, want=4), line(DAY, need=900, want=900))
    [grant] = one(store, "b", 1, line(SLOTS, need=1, want=1))
    assert grant.amount == 0
    clock.passes(5.5)
    slots, day = one(store, "b", 2, line(SLOTS, need=4, want=4), line(DAY, need=101, want=101))
    assert slots.amount == 4
    assert (day.amount, day.left, day.final) == (0, 100, True)
    answer = store.exchange(Exchange("a", 2, (line(SLOTS, claim=2),)))
    assert answer.revived
    assert {seen.counter: seen.leased for seen in store.overview()} == {SLOTS[0]: 6, DAY[0]: 900}


def test_who_leaves_is_not_waited_for(store: Store):
    one(store, "a", 1, line(SLOTS, need=2, want=2))
    one(store, "a", 2, line(SLOTS, returned=1), leaving=True)
    [grant] = one(store, "b", 1, line(SLOTS, need=4, want=4))
    assert grant.final
    assert store.exchange(Exchange("b", 2)).workers == 1


def test_a_rate_comes_back_with_time_and_never_beyond_its_amount(store: Store, clock: Clock):
    [grant] = one(store, "a", 1, line(RATE, need=20, want=20))
    assert (grant.amount, grant.left) == (20, 0)
    one(store, "a", 2, line(RATE, settled=20))
    clock.passes(0.5)
    [grant] = one(store, "a", 3, line(RATE, need=8, want=8))
    assert (grant.amount, grant.left) == (0, 5)
    assert abs(grant.retry_s - 0.3) < 1e-6
    clock.passes(4.0)
    [grant] = one(store, "a", 4, line(RATE, need=1, want=1))
    assert grant.left == 19
    one(store, "a", 5, line(RATE, settled=1, credit=500))
    [grant] = one(store, "a", 6, line(RATE, need=20, want=20))
    assert grant.amount == 20


def test_what_is_leased_of_a_rate_and_not_spent_does_not_come_back_twice(store: Store, clock: Clock):
    one(store, "a", 1, line(RATE, need=15, want=15))
    clock.passes(4.0)
    [grant] = one(store, "b", 1, line(RATE, need=6, want=6))
    assert (grant.amount, grant.left) == (0, 5)


def test_a_window_that_closed_is_put_right_and_the_new_one_left_alone(store: Store, clock: Clock):
    one(store, "a", 1, line(DAY, need=1000, want=1000))
    clock.passes(43_200)
    [grant] = one(store, "a", 2, line(DAY, period=TODAY, settled=400, need=1000, want=1000))
    assert (grant.period, grant.amount) == ("2026-11-28", 1000)
    one(store, "a", 3, line(DAY, period=TODAY, settled=7))
    [seen] = store.overview()
    assert (seen.period, seen.settled, seen.leased) == ("2026-11-28", 0, 1000)


def test_a_clock_that_goes_back_is_not_followed(store: Store, clock: Clock):
    clock.passes(86_400)
    one(store, "a", 1, line(DAY, need=900, want=900))
    clock.passes(-86_400)
    answer = store.exchange(
        Exchange("a", 2, (line(DAY, period="2026-11-28", settled=900, need=200, want=200),))
    )
    assert answer.grants[0].amount == 0
    assert answer.grants[0].period == "2026-11-28"
    assert answer.clock_s == NOON + 86_400


def test_uses_are_summed_by_tenant_model_and_day(store: Store):
    uses = (
        Use(TODAY, "t", "m", 1, 10, 20, 0),
        Use(TODAY, "t", "n", 1, 1, 1, 5),
        Use("2026-11-26", "u", "m", 1, 2, 3, 0),
    )
    one(store, "a", 1, uses=uses)
    one(store, "a", 2, uses=uses[:1])
    assert list(store.usage("2026-11-01", TODAY)) == [
        Use("2026-11-26", "u", "m", 1, 2, 3, 0),
        Use(TODAY, "t", "m", 2, 20, 40, 0),
        Use(TODAY, "t", "n", 1, 1, 1, 5),
    ]
    assert [use.model for use in store.usage(TODAY, TODAY, "t")] == ["m", "n"]
    assert list(store.usage(TODAY, TODAY, "u")) == []


def test_a_reset_forgets_what_was_settled_and_what_the_dead_held(store: Store, clock: Clock):
    one(store, "dead", 1, line(DAY, need=100, want=100))
    clock.passes(6)
    one(store, "a", 1, line(DAY, need=300, want=300))
    one(store, "a", 2, line(DAY, period=TODAY, settled=200))
    store.reset(DAY[0])
    [seen] = store.overview()
    assert (seen.settled, seen.leased) == (0, 100)
    one(store, "a", 3, line(DAY, period=TODAY, settled=50))
    assert store.overview()[0].settled == 50


def test_settings_and_keys_are_kept_with_a_generation_that_goes_up(store: Store):
    before = store.generation()
    _, key = created("t", bytes(32), 100.0, name="ci")
    seen = [
        store.put_key(key),
        store.put_figures("tenant:t", '{"in_flight":3}'),
        store.put_key(revoked(key, 200.0)),
    ]
    assert seen == sorted({*seen})
    assert seen[0] > before
    settings = store.settings()
    assert settings.generation == store.generation() == seen[-1]
    assert settings.figures == {"tenant:t": '{"in_flight":3}'}
    assert settings.keys == (revoked(key, 200.0),)
    store.put_figures("tenant:t", None)
    store.drop_key(key.id)
    assert store.settings().figures == {}
    assert store.settings().keys == ()


def test_a_change_is_made_whole_or_not_at_all_when_another_was_faster(store: Store):
    one(store, "a", 1)
    _, first = created("t", bytes(32), 100.0)
    _, second = created("t", bytes(31) + b"x", 100.0)
    seen = store.settings().generation
    made = store.change(seen, {"tenant:t": '{"in_flight":3}'}, {first.id: first, second.id: second})
    assert made == store.generation() > seen
    assert set(store.settings().keys) == {first, second}
    assert store.change(seen, {"tenant:t": None}, {first.id: None}) is None
    assert store.settings().figures == {"tenant:t": '{"in_flight":3}'}
    assert store.change(made, {"tenant:t": None}, {first.id: None, second.id: revoked(second, 200.0)})
    assert store.settings().figures == {}
    assert store.settings().keys == (revoked(second, 200.0),)


def test_when_keys_were_used_is_kept_beside_them_and_never_goes_back(store: Store):
    one(store, "a", 1)
    _, key = created("t", bytes(32), 100.0)
    generation = store.put_key(key)
    store.put_used({key.id: 300.25, "key_written": 7.0})
    store.put_used({key.id: 200.0})
    store.put_used({})
    assert store.used() == {key.id: 300.25, "key_written": 7.0}
    assert store.generation() == generation
    assert store.settings().keys == (key,)
    store.change(generation, {}, {key.id: None})
    assert store.used() == {"key_written": 7.0}


def test_usage_is_read_in_pieces(store: Store):
    days = ("2026-11-25", "2026-11-26", TODAY)
    uses = tuple(Use(day, who, model, 1, 2, 3, 0) for day in days for who in "tu" for model in "mn")
    one(store, "a", 1, uses=uses)
    found: list[Use] = []
    while piece := store.usage(
        "2026-01-01",
        "2026-12-31",
        after=(found[-1].day, found[-1].tenant, found[-1].model) if found else ("", "", ""),
        most=5,
    ):
        assert len(piece) <= 5
        found += piece
    assert found == list(uses)
    assert [use.day for use in store.usage(days[1], TODAY, "u", after=(days[1], "u", "m"), most=2)] == list(
        days[1:]
    )


def test_the_clock_is_that_of_the_windows(store: Store, clock: Clock):
    one(store, "a", 1)
    clock.passes(7.0)
    assert store.clock_s() == NOON + 7.0


def test_how_full_a_rate_is_can_be_looked_at(store: Store, clock: Clock):
    one(store, "a", 1, line(RATE, need=15, want=15))
    one(store, "a", 2, line(RATE, settled=12))
    [seen] = store.overview(RATE[0])
    assert (seen.leased, seen.level, seen.at_s) == (3, 5.0, clock.now_s)


@pytest.mark.parametrize("name", ["10.1.4.7", "a'b", 'a"b', "a|b\\c", "\u00e4\u4e2d", "x" * 500])
def test_any_counters_name_is_kept_apart(store: Store, name: str):
    what = (f"tokens_per_day|tenant:{name}", "quota", "day", 100)
    [grant] = one(store, "a", 1, line(what, need=60, want=60))
    assert grant == Grant(what[0], TODAY, NOON + 43_200, 60, 40, final=False, retry_s=0.0)
    assert [seen.counter for seen in store.overview(what[0])] == [what[0]]


def test_large_limits_are_exact(store: Store):
    what = ("tokens_per_month|tenant:t", "quota", "month", 10**15)
    [grant] = one(store, "a", 1, line(what, need=10**15 - 1, want=10**15 - 1))
    assert (grant.amount, grant.left, grant.period) == (10**15 - 1, 1, "2026-11")
    one(store, "a", 2, line(what, period="2026-11", settled=10**15 - 7))
    assert (store.overview()[0].settled, store.overview()[0].leased) == (10**15 - 7, 6)
