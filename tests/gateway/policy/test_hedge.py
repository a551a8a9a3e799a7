"""The race of two against a model that only knows who is under way; the delay against a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.config import Hedging, Retries
from gateway.policy import hedge as module
from gateway.policy.hedge import ENDS, LEAST, RECENT, SHORTEST_S, STEP, TABLE, Hedge, Hedges, answers
from gateway.policy.retry import Retries as Budget
from tests.examples import examples
from tests.gateway.policy.docstrings import docstring


def test_the_table_of_the_docstring_is_the_table():
    lines = docstring(module).splitlines()
    events = ["first_answered", "first_failed", "second_answered", "second_failed", "silent", "denied"]
    rows = [
        line.split() for line in lines if line.split()[:1] in [["first"], ["both"], ["alone"], ["second"]]
    ]
    told = {
        (state, event): then
        for state, *cells in rows
        for event, then in zip(events, cells, strict=True)
        if then != "-"
    }
    assert told == TABLE


def test_every_state_but_the_ends_can_be_reached_and_left():
    states = {state for state, _ in TABLE}
    assert states | ENDS == {"first"} | set(TABLE.values())
    assert not states & ENDS


def test_what_cannot_happen_is_no_event():
    with pytest.raises(KeyError):
        Hedge().happened("second_answered")


@pytest.mark.parametrize(
    ("status", "good"), [(200, True), (404, True), (429, False), (500, False), (503, False)]
)
def test_an_error_of_the_backend_does_not_end_the_other_one(status, good):
    assert answers(status) is good


class Machine(RuleBasedStateMachine):
    """The model: who runs, whether there may be a second one, and what the budget has."""

    def __init__(self) -> None:
        super().__init__()
        self.hedge = Hedge()
        self.budget = Budget(Retries(budget=0.0, budget_min=1))
        self.others = 0
        self.running = {"first"}
        self.sent = 1
        self.counted = False
        self.winner: str | None = None

    def over(self) -> bool:
        return self.hedge.state in ENDS

    @precondition(lambda self: self.hedge.state == "first")
    @rule()
    def silent(self):
        free = self.budget.retrying == 0
        self.counted = self.budget.one_more(1, counted=False)
        assert self.counted == free
        self.hedge.happened("silent" if self.counted else "denied")
        if self.counted:
            self.running.add("second")
            self.sent += 1

    @precondition(lambda self: not self.over())
    @rule(second=st.booleans(), good=st.booleans())
    def ends(self, second, good):
        name = "second" if second else "first"
        if name not in self.running:
            with pytest.raises(KeyError):
                self.hedge.happened(f"{name}_{'answered' if good else 'failed'}")
            return
        self.hedge.happened(f"{name}_{'answered' if good else 'failed'}")
        self.running.remove(name)
        if good:
            self.winner = name

    @precondition(lambda self: self.over())
    @rule()
    def settle(self):
        if self.counted:
            self.budget.ended()
        self.__init__()

    @rule()
    def another_takes_the_budget(self):
        if self.budget.one_more(1, counted=False):
            self.others += 1

    @precondition(lambda self: self.others)
    @rule()
    def another_ends(self):
        self.budget.ended()
        self.others -= 1

    @invariant()
    def at_most_two_and_the_end_is_the_first_answer_or_that_nobody_runs(self):
        assert self.sent <= 2
        assert self.budget.retrying == self.others + self.counted
        assert self.over() == (self.winner is not None or not self.running)
        if self.over():
            assert self.hedge.state == (f"{self.winner}_won" if self.winner else "lost")


Machine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


def test_a_fixed_delay_is_the_delay_and_nothing_is_remembered():
    hedges = Hedges(Hedging(enabled=True, after_s=0.5))
    hedges.answered("m", b"/p", 9.0)
    assert (hedges.after_s("m", b"/p"), hedges._recent) == (0.5, {})


def test_off_until_it_is_switched_on():
    assert not Hedges(Hedging()).on
    hedges = Hedges(Hedging(enabled=True))
    for _ in range(LEAST):
        hedges.answered("m", b"/p", 1.0)
    assert (hedges.on, hedges.after_s("m", b"/p"), hedges.after_s("m", b"/q")) == (True, 1.0, None)
    hedges.configure(Hedging())
    assert (hedges.on, hedges.after_s("m", b"/p")) == (False, None)


@given(st.lists(st.floats(0.0, 100.0), max_size=600), st.sampled_from([50.0, 95.0, 99.9]))
@settings(max_examples=examples(100), deadline=None)
def test_the_delay_is_the_percentile_of_the_latest(times, percentile):
    hedges, mark = Hedges(Hedging(enabled=True, percentile=percentile)), None
    for count, took_s in enumerate(times, 1):
        hedges.answered("m", b"/p", took_s)
        if count == LEAST or (count > LEAST and count % STEP == 0):
            recent = sorted(times[max(0, count - RECENT) : count])
            mark = recent[int(len(recent) * percentile / 100)]
        assert hedges.after_s("m", b"/p") == (None if mark is None else max(mark, SHORTEST_S))
