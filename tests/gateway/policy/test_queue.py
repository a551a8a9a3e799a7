"""The queue against a model that sorts a list anew each time; shares and order as promised."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.policy import queue as module
from gateway.policy.queue import Queue, Waiter
from tests.examples import examples


def served(queue: Queue[str], count: int) -> list[str]:
    found = []
    for _ in range(count):
        waiter = queue.pop()
        assert waiter is not None
        found.append(waiter.value)
    return found


def test_tenants_take_turns_whoever_came_first():
    queue: Queue[str] = Queue(100, fair=True)
    for value in ("a1", "a2", "a3", "b1", "b2"):
        queue.put(value, value[0])
    assert served(queue, 5) == ["a1", "b1", "a2", "b2", "a3"]
    assert queue.pop() is None


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60))
@settings(max_examples=examples(50))
def test_a_thousand_waiting_calls_of_one_tenant_cost_another_at_most_one_turn(pauses: list[int]):
    """`pauses`: so many are served before the other tenant comes again."""
    queue: Queue[str] = Queue(5000, fair=True)
    for _ in range(2000):
        queue.put("many", "many")
    for pause in pauses:
        served(queue, pause)
        queue.put("one", "one")
        assert "one" in served(queue, 2)


def test_a_weight_is_a_share():
    queue: Queue[str] = Queue(1000, fair=True)
    for _ in range(200):
        queue.put("heavy", "heavy", 3.0)
        queue.put("light", "light", 1.0)
    assert served(queue, 100).count("heavy") == 75


def test_first_come_is_by_time_alone():
    queue: Queue[str] = Queue(100, fair=False)
    for value in ("a1", "a2", "b1", "a3"):
        queue.put(value, value[0], 1.0 if value[0] == "a" else 100.0)
    assert served(queue, 4) == ["a1", "a2", "b1", "a3"]


def test_what_is_full_takes_nobody_in():
    queue: Queue[str] = Queue(1, fair=True)
    waiter = queue.put("a", "a")
    assert waiter is not None
    assert queue.put("b", "b") is None
    queue.remove(waiter)
    queue.remove(waiter)
    assert len(queue) == 0
    assert queue.put("b", "b") is not None


def test_who_leaves_costs_its_tenant_nothing():
    queue: Queue[str] = Queue(100, fair=True)
    gone = [queue.put(f"a{n}", "a") for n in range(5)]
    queue.put("b1", "b")
    for waiter in gone:
        assert waiter is not None
        queue.remove(waiter)
    queue.put("a9", "a")
    queue.put("b2", "b")
    assert served(queue, 3) == ["b1", "a9", "b2"]


def test_who_comes_back_at_once_does_not_overtake():
    """A tenant with one call at a time gets one turn, not every turn."""
    queue: Queue[str] = Queue(100, fair=True)
    for _ in range(4):
        queue.put("many", "many")
    order = []
    queue.put("one", "one")
    for _ in range(4):
        waiter = queue.pop()
        assert waiter is not None
        order.append(waiter.value)
        if waiter.value == "one":
            queue.put("one", "one")
    assert order == ["many", "one", "many", "one"]


def test_who_is_sent_again_is_not_in_the_turns():
    queue: Queue[str] = Queue(100, fair=True)
    queue.put("a", "a")
    again = queue.put("b", "b", again=True)
    assert queue.again() == (again,)
    assert served(queue, 1) == ["a"]
    assert again is not None
    queue.remove(again)
    assert (len(queue), queue.again()) == (0, ())


def test_tenants_that_were_served_long_ago_are_forgotten():
    queue: Queue[int] = Queue(100, fair=True)
    queue.put(-1, "stays")
    for n in range(5 * module.REMEMBERED):
        queue.put(n, f"t{n}", 1000.0)
        queue.pop()
        queue.put(-1, "stays")
        queue.pop()
    assert len(queue._ends) <= 2 * module.REMEMBERED


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue: Queue[int] = Queue(12, fair=True)
        self.waiting: list[Waiter[int]] = []
        self.tenants: list[str] = []
        self.starts: dict[str, float] = {}
        self.virtual = 0.0
        self.count = 0

    @rule(tenant=st.sampled_from("abc"), weight=st.sampled_from([0.5, 1.0, 4.0]))
    def put(self, tenant, weight):
        waiter = self.queue.put(self.count, tenant, weight)
        self.count += 1
        if len(self.waiting) == 12:
            assert waiter is None
            return
        if tenant not in self.tenants:
            self.starts[tenant] = max(self.starts.get(tenant, 0.0), self.virtual)
        self.waiting.append(waiter)
        self.tenants.append(tenant)

    @rule()
    def pop(self):
        waiter = self.queue.pop()
        if not self.waiting:
            assert waiter is None
            return
        at = min(
            range(len(self.waiting)), key=lambda n: (self.starts[self.tenants[n]], self.waiting[n].number)
        )
        assert waiter is self.waiting[at]
        tenant = self.tenants[at]
        self.virtual = self.starts[tenant]
        self.starts[tenant] += 1 / waiter.weight
        self.drop(at)

    @precondition(lambda self: self.waiting)
    @rule(at=st.integers(0, 11))
    def leave(self, at):
        self.queue.remove(self.waiting[at % len(self.waiting)])
        self.drop(at % len(self.waiting))

    def drop(self, at: int) -> None:
        del self.waiting[at], self.tenants[at]
        if not self.waiting:
            self.starts.clear()
            self.virtual = 0.0

    @invariant()
    def agrees(self):
        assert len(self.queue) == len(self.waiting)


Machine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=60, deadline=None)
TestMachine = Machine.TestCase
