"""Who stands out, who has to stay all the same, and for how long the other one goes."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.config import Backend as Wanted
from gateway.config import Breaker
from gateway.config import Outliers as Rules
from gateway.policy.backend import Backend
from gateway.policy.outlier import Outliers, Seen, may_go, worst
from tests.examples import examples

RULES = Rules(enabled=True, interval_s=1.0, requests=10, eject_s=10.0, eject_max_s=35.0)
FINE = Seen(fit=True, ended=100, failed=0, lasts_s=0.2)


def replace(**changes):
    return Seen(**{"fit": True, "ended": 100, "failed": 0, "lasts_s": 0.2} | changes)


def fleet(size: int = 3) -> list[Backend]:
    made = [Backend(Wanted(id=f"b{n}", url=f"http://b{n}:1"), "m", Breaker(), 0.0) for n in range(size)]
    for backend in made:
        backend.health.probed("answered", "", 0.0, 10.0, 1.0)
    return made


# Who stands out.


def test_a_share_of_failures_far_above_the_others_stands_out():
    assert worst([FINE, replace(failed=30), FINE], RULES) == (1, "failures", 0.3, 0.0)
    assert worst([FINE, replace(failed=19), FINE], RULES) is None
    assert (
        worst([replace(failed=20), replace(failed=30), replace(failed=20)], RULES) is None
    )  # it is not the replica


def test_calls_that_last_far_longer_than_the_others_stand_out():
    assert worst([FINE, FINE, replace(lasts_s=1.0)], RULES) == (2, "slow", 1.0, 0.2)
    assert worst([FINE, FINE, replace(lasts_s=0.79)], RULES) is None
    quick = replace(lasts_s=0.001)
    assert worst([quick, quick, replace(lasts_s=0.04)], RULES) is None  # 40 times, and yet quick


def test_few_calls_say_nothing_and_nor_does_being_alone():
    assert worst([FINE, replace(ended=9, failed=9)], RULES) is None
    assert worst([replace(failed=100)], RULES) is None
    assert worst([replace(ended=9), replace(failed=100)], RULES) is None
    assert worst([replace(lasts_s=None), replace(lasts_s=50.0)], RULES) is None
    assert worst([FINE, replace(fit=False, failed=100)], RULES) is None


def test_failing_is_worse_than_being_slow_and_one_goes_at_a_time():
    found = worst([FINE, FINE, replace(lasts_s=9.0), replace(failed=50), replace(failed=60)], RULES)
    assert found is not None
    assert found[:3] == (4, "failures", 0.6)


def test_one_fit_one_stays_and_half_of_all():
    out = replace(fit=False)
    assert [may_go([FINE] * size) for size in (1, 2, 3, 4)] == [False, True, True, True]
    assert [may_go([FINE] * (4 - gone) + [out] * gone) for gone in (1, 2, 3)] == [True, False, False]


# The machine.


def serve(backend, answered=100, errors=0):
    backend.answered += answered
    backend.errors += errors


def test_pauses_double_with_each_strike_and_a_good_look_takes_one_off():
    group, outliers, now, pauses = fleet(), Outliers(RULES), 0.0, []
    outliers.look([group], now)
    for failing in (True, True, True, False, False, True):
        now += 1.0
        for backend in group:
            serve(backend, 100, 100 * (failing and backend is group[1]))
        for verdict in outliers.look([group], now):
            assert verdict.backend is group[1]
            pauses.append(verdict.pause_s)
    assert pauses == [10.0, 20.0, 35.0, 20.0]


def test_between_two_looks_nothing_is_judged():
    group, outliers = fleet(), Outliers(RULES)
    outliers.look([group], 0.0)
    serve(group[0], 100, 100)
    serve(group[1])
    assert outliers.look([group], 0.9) == ()
    assert [verdict.why for verdict in outliers.look([group], 1.0)] == ["failures"]
    assert outliers.look([group], 2.0) == ()  # what was judged is over


def test_how_long_calls_last_is_seen_by_how_many_are_under_way():
    """10 a second at each; 2 under way on the average at the others, 20 at the slow one."""
    group, outliers = fleet(), Outliers(RULES)
    for backend, in_flight in zip(group, (2, 20, 2), strict=True):
        backend.in_flight = in_flight
    for tick in range(11):
        found = outliers.look([group], tick * 0.1)
        for backend in group:
            serve(backend, 1 + (tick < 1))
    [verdict] = found
    assert (verdict.backend, verdict.why) == (group[1], "slow")
    assert math.isclose(verdict.value, 10 * verdict.others)


def test_who_is_gone_from_the_configuration_is_forgotten():
    group, outliers = fleet(), Outliers(RULES)
    outliers.look([group], 0.0)
    outliers.look([group[:1]], 0.1)
    assert set(outliers._tallies) == {group[0]}


class Machine(RuleBasedStateMachine):
    """Whatever backends do: half of them and one fit one stay, and who is out comes back by its breaker."""

    def __init__(self) -> None:
        super().__init__()
        self.group = fleet(4)
        self.outliers = Outliers(RULES)
        self.now = 0.0
        self.out = 0

    @rule(
        n=st.integers(0, 3), answered=st.integers(0, 50), errors=st.integers(0, 50), flying=st.integers(0, 60)
    )
    def serve(self, n, answered, errors, flying):
        serve(self.group[n], answered, errors)
        self.group[n].in_flight = flying

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0]))
    def look(self, seconds):
        self.now += seconds
        before = [backend for backend in self.group if self.fit(backend)]
        for verdict in self.outliers.look([self.group], self.now):
            assert verdict.backend in before
            if verdict.pause_s is None:
                continue
            assert 10.0 <= verdict.pause_s <= 35.0
            assert verdict.backend.breaker.eject(verdict.pause_s, self.now)
            assert sum(map(self.fit, self.group)) >= 2  # half of four

    @rule(n=st.integers(0, 3), fact=st.sampled_from(["success", "failure", "neutral"]))
    def try_again(self, n, fact):
        breaker = self.group[n].breaker
        if breaker.state != "closed" and breaker.lets_through(self.now):
            breaker.report(breaker.take(self.now), fact, self.now)
            assert (breaker.state == "closed") == (fact == "success")

    @rule(n=st.integers(0, 3), up=st.booleans())
    def goes(self, n, up):
        health = self.group[n].health
        if up:
            health.probed("answered", "", self.now, 10.0, 1.0)
        else:
            health.connect_failed("refused", self.now)

    @rule(n=st.integers(0, 3))
    def drains(self, n):
        self.group[n].drained = not self.group[n].drained

    @staticmethod
    def fit(backend):
        return backend.takes_requests and backend.breaker.state == "closed"

    @invariant()
    def never_all_by_statistics(self):
        ready = [backend for backend in self.group if backend.takes_requests]
        ejected = [backend for backend in self.group if backend.breaker.state != "closed"]
        assert len(ejected) <= 2
        assert len(ready) < 3 or any(map(self.fit, ready))


Machine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=50, deadline=None)
TestMachine = Machine.TestCase


@given(
    st.lists(
        st.builds(
            Seen,
            fit=st.booleans(),
            ended=st.integers(0, 100),
            failed=st.integers(0, 100),
            lasts_s=st.none() | st.floats(0, 100),
        ).filter(lambda seen: seen.failed <= seen.ended),
        max_size=6,
    )
)
@settings(max_examples=examples(300), deadline=None)
def test_nobody_stands_out_without_another_to_compare_with(group):
    found = worst(group, RULES)
    counted = [seen for seen in group if seen.fit and seen.ended >= RULES.requests]
    if found is not None:
        n, why, value, others = found
        assert group[n] in counted
        assert len(counted) >= 2
        assert value > others
        assert why == "slow" or value >= RULES.failures
