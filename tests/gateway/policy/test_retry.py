"""Retries: never more than the budget, never behind the deadline, and every counted one is counted out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.config import Retries as Rules
from gateway.policy.retry import Again, GiveUp, Retries
from tests.examples import examples


def decide(retries: Retries, attempt: int = 1, active: int = 1, left_s: float = 100.0, chance: float = 0.5):
    return retries.decide(attempt, active, left_s, chance, counted=False)


def test_the_pause_is_drawn_up_to_a_length_that_doubles():
    retries = Retries(Rules(attempts=10, budget_min=100, backoff_s=1.0, backoff_max_s=5.0))
    assert [decide(retries, attempt, chance=0.5) for attempt in (1, 2, 3, 4)] == [
        Again(0.5), Again(1.0), Again(2.0), Again(2.5),
    ]  # fmt: skip
    assert decide(retries, chance=0.0) == Again(0.0)


def test_the_last_attempt_is_the_last():
    retries = Retries(Rules(attempts=2))
    assert isinstance(decide(retries, 1), Again)
    assert decide(retries, 2) == GiveUp("attempts")
    assert decide(Retries(Rules(attempts=1)), 1) == GiveUp("attempts")


def test_none_is_sent_behind_the_deadline():
    retries = Retries(Rules(backoff_s=2.0))
    assert decide(retries, left_s=1.0) == GiveUp("deadline")
    assert decide(retries, left_s=-1.0, chance=0.0) == GiveUp("deadline")
    assert decide(retries, left_s=1.1) == Again(1.0)
    assert retries.retrying == 1


def test_a_request_is_counted_once_however_often_it_is_sent():
    retries = Retries(Rules(budget_min=1))
    assert isinstance(decide(retries), Again)
    assert isinstance(retries.decide(2, 1, 100.0, 0.0, counted=True), Again)
    assert decide(retries) == GiveUp("budget")
    retries.ended()
    assert isinstance(decide(retries), Again)


def test_what_finds_no_room_waits_for_its_turn_first_come_first_served():
    retries, turns = Retries(Rules(budget=0.0, budget_min=2)), []
    assert retries.wait(lambda: turns.append("nobody's")) is None  # no turn of another ends
    assert isinstance(decide(retries), Again)
    assert isinstance(decide(retries), Again)
    assert decide(retries) == GiveUp("budget")
    for name in ("first", "second", "third"):
        retries.wait(lambda name=name: turns.append(name))
    retries.ended()
    assert (turns, retries.retrying, retries.waiting) == (["first"], 2, 2)
    retries.ended()
    retries.ended()
    assert (turns, retries.retrying, retries.waiting) == (["first", "second", "third"], 2, 0)
    retries.ended()
    retries.ended()
    assert retries.retrying == 0


def test_who_leaves_before_or_after_its_turn_holds_up_nobody():
    retries, turns = Retries(Rules(budget=0.0, budget_min=1)), []
    decide(retries)
    numbers = [retries.wait(lambda name=name: turns.append(name)) for name in "abc"]
    retries.leave(numbers[0])
    retries.ended()
    assert turns == ["b"]
    retries.leave(numbers[1])
    assert turns == ["b", "c"]
    retries.leave(numbers[2])
    assert (retries.retrying, retries.waiting) == (0, 0)


@given(
    st.lists(st.one_of(st.just("end"), st.integers(1, 200)), max_size=200),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.integers(0, 5),
)
@settings(max_examples=examples(200), deadline=None)
def test_retries_are_never_more_than_the_budget(steps, budget, least):
    retries = Retries(Rules(budget=budget, budget_min=least))
    held = 0
    for step in steps:
        if step == "end":
            if held:
                retries.ended()
                held -= 1
        else:
            allowed = held < max(least, budget * step)
            assert isinstance(decide(retries, active=step), Again) == allowed
            held += allowed
        assert retries.retrying == held


class Machine(RuleBasedStateMachine):
    """The model: who is counted, and a list of who waits for a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.retries = Retries(Rules(budget=0.2, budget_min=2, attempts=10))
        self.counted = 0
        self.waiting: list[int] = []
        self.woken: list[int] = []
        self.given: dict[int, int] = {}
        self.next = 0

    @rule(active=st.integers(1, 30), hedge=st.booleans())
    def another(self, active, hedge):
        """A request fails, or is late, and would be sent again."""
        room = self.counted + len(self.woken) < max(2, 0.2 * active)
        if hedge:
            assert self.retries.one_more(active, counted=False) == room
        else:
            assert isinstance(decide(self.retries, active=active), Again) == room
        self.counted += room
        if room or hedge:
            return
        ticket = self.next
        number = self.retries.wait(lambda: self.woken.append(ticket))
        assert (number is None) == (self.counted + len(self.woken) == 0)
        if number is not None:
            self.next += 1
            self.given[ticket] = number
            self.waiting.append(ticket)

    @rule(active=st.integers(1, 30))
    def one_that_is_counted_fails_again(self, active):
        before = self.retries.retrying
        assert isinstance(self.retries.decide(2, active, 100.0, 0.5, counted=True), Again)
        assert self.retries.retrying == before

    @precondition(lambda self: self.counted)
    @rule()
    def one_ends(self):
        self.counted -= 1
        self.turn()
        self.retries.ended()

    @precondition(lambda self: self.waiting or self.woken)
    @rule(at=st.integers(0, 20))
    def one_leaves(self, at):
        """While it waits, or after its turn has come and before it took it."""
        everybody = self.waiting + self.woken
        ticket = everybody[at % len(everybody)]
        if ticket in self.waiting:
            self.waiting.remove(ticket)
            self.retries.leave(self.given[ticket])
        else:
            self.woken.remove(ticket)
            self.turn()
            self.retries.leave(self.given[ticket])

    @precondition(lambda self: self.woken)
    @rule()
    def one_takes_its_turn(self):
        self.woken.pop(0)
        self.counted += 1

    def turn(self) -> None:
        """A place came free: it is the first waiter's, who is called within this very step."""
        self.expected = self.woken + self.waiting[:1]
        self.waiting = self.waiting[1:]

    @invariant()
    def agrees(self):
        assert self.retries.retrying == self.counted + len(self.woken)
        assert self.retries.waiting == len(self.waiting)
        assert not self.waiting or self.retries.retrying
        assert getattr(self, "expected", self.woken) == self.woken
        self.expected = self.woken


Machine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=50, deadline=None)
TestMachine = Machine.TestCase
