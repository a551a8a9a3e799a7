"""The breaker against a model of it that only remembers what happened."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.config import Breaker as Rules
from gateway.policy.breaker import TABLE, Breaker
from tests.examples import examples

RULES = Rules(failures=3, recovery_s=10.0, recovery_max_s=35.0)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(RULES)
    for _ in range(RULES.failures):
        breaker.report(breaker.take(at), "failure", at)
    assert breaker.state == "open"
    return breaker


def test_the_table_is_complete():
    assert len(TABLE) == 9
    assert {state for state, _ in TABLE} == set(TABLE.values())


def test_the_nth_failure_in_a_row_opens_it():
    breaker = Breaker(RULES)
    for fact in ("failure", "failure", "success", "failure", "neutral", "failure"):
        assert not breaker.report(breaker.take(0.0), fact, 0.0)
    assert breaker.report(breaker.take(0.0), "failure", 0.0)
    assert (breaker.state, breaker.retry_at, breaker.opened) == ("open", 10.0, 1)
    assert not breaker.lets_through(9.9)
    assert breaker.lets_through(10.0)


def test_each_try_that_fails_doubles_the_pause_up_to_its_limit():
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(4):
        pauses.append(breaker.pause_s)
        now += breaker.pause_s
        assert breaker.report(breaker.take(now), "failure", now)
    assert pauses == [10.0, 20.0, 35.0, 35.0]
    now += breaker.pause_s
    assert breaker.report(breaker.take(now), "success", now)
    assert (breaker.state, breaker.pause_s) == ("closed", 10.0)


@pytest.mark.parametrize(
    ("fact", "state"), [("success", "closed"), ("failure", "open"), ("neutral", "half_open")]
)
def test_half_open_has_one_place_and_every_end_frees_it(fact, state):
    breaker = opened()
    permit = breaker.take(10.0)
    assert breaker.state == "half_open"
    assert not breaker.lets_through(10.0)
    past = breaker.take(10.0)
    breaker.report(past, "failure", 10.0)
    assert breaker.state == "half_open"
    breaker.report(permit, fact, 11.0)
    assert breaker.state == state
    assert breaker.lets_through(11.0 + breaker.pause_s)


def test_what_was_under_way_when_it_opened_says_nothing():
    breaker = Breaker(RULES)
    late = breaker.take(0.0)
    for _ in range(3):
        breaker.report(breaker.take(0.0), "failure", 0.0)
    permit = breaker.take(10.0)
    assert not breaker.report(late, "success", 10.0)
    assert breaker.state == "half_open"
    assert breaker.report(permit, "success", 10.0)
    assert not breaker.report(late, "failure", 10.0)
    assert breaker.failures == 0


def test_a_success_past_an_open_breaker_closes_it():
    breaker = opened()
    assert not breaker.report(breaker.take(1.0), "failure", 1.0)
    assert breaker.retry_at == 10.0
    assert breaker.report(breaker.take(1.0), "success", 1.0)
    assert breaker.state == "closed"


def test_switched_off_it_stays_closed():
    breaker = Breaker(Rules(enabled=False, failures=1))
    for _ in range(100):
        breaker.report(breaker.take(0.0), "failure", 0.0)
    assert breaker.state == "closed"


class Machine(RuleBasedStateMachine):
    """The model: failures in a row, when it opened and for how long, and who holds the one place."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(RULES)
        self.now = 0.0
        self.held: list[tuple[int, str, int]] = []
        """Permit, the state it was given in, which life of the state that was."""
        self.state, self.life, self.row = "closed", 0, 0
        self.pause, self.until = 10.0, 0.0
        self.place_taken = False

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, 40.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def take(self):
        through = self.breaker.lets_through(self.now)
        due = self.state == "open" and self.now >= self.until
        assert through == (
            self.state == "closed" or due or (self.state == "half_open" and not self.place_taken)
        )
        permit = self.breaker.take(self.now)
        if due:
            self.enter("half_open")
        life = self.life
        if self.state == "half_open":
            life = -1 if self.place_taken else life
            self.place_taken = True
        self.held.append((permit, self.state, life))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 50), fact=st.sampled_from(["success", "failure", "neutral"]))
    def end(self, which, fact):
        permit, state, life = self.held.pop(which % len(self.held))
        self.breaker.report(permit, fact, self.now)
        if life != self.life:
            return
        if state == "closed":
            self.row = {"success": 0, "failure": self.row + 1, "neutral": self.row}[fact]
            if self.row == RULES.failures:
                self.pause = 10.0
                self.open()
        elif fact == "success":
            self.enter("closed")
            self.row = 0
        elif state == "half_open":
            self.place_taken = False
            if fact == "failure":
                self.pause = min(self.pause * 2, 35.0)
                self.open()

    def open(self) -> None:
        self.until = self.now + self.pause
        self.enter("open")

    def enter(self, state: str) -> None:
        self.state, self.life, self.place_taken = state, self.life + 1, False

    @invariant()
    def agrees(self):
        assert self.breaker.state == self.state
        if self.state == "closed":
            assert self.breaker.failures == self.row < RULES.failures
        if self.state == "open":
            assert self.breaker.retry_at == self.until

    def teardown(self):
        for permit, _, _ in self.held:
            self.breaker.report(permit, "neutral", self.now)
        assert self.breaker.lets_through(self.now + 1000)


Machine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=60, deadline=None)
TestMachine = Machine.TestCase
