"""The cache against a list: what is kept, for how long, in how many bytes, and who fetches."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.config import Cache as Rules
from gateway.policy.cache import OVERHEAD_BYTES, Answer, Cache, Flight, Follow, Hit, Lead
from tests.examples import examples


def key(name: str):
    return "tenant", "model", name.encode()


def answer(size: int = 10) -> Answer:
    return Answer(b"", b"x" * size)


def keep(cache: Cache, name: str, value: Answer, now: float = 0.0) -> None:
    found = cache.ask(key(name), now)
    assert isinstance(found, Lead)
    found.flight.answer = value
    cache.landed(found.flight, "answered", now)


def test_what_was_not_asked_for_the_longest_goes_first():
    cache = Cache(Rules(entries=2))
    keep(cache, "a", answer())
    keep(cache, "b", answer())
    assert isinstance(cache.ask(key("a"), 1.0), Hit)
    keep(cache, "c", answer())
    assert isinstance(cache.ask(key("b"), 1.0), Lead)
    assert isinstance(cache.ask(key("a"), 1.0), Hit)
    assert (len(cache), cache.evicted) == (2, 1)


def test_an_answer_is_too_old_after_its_time_however_often_it_was_asked_for():
    cache = Cache(Rules(ttl_s=10.0))
    keep(cache, "a", answer())
    assert isinstance(cache.ask(key("a"), 9.9), Hit)
    assert isinstance(cache.ask(key("a"), 10.0), Lead)
    assert (len(cache), cache.bytes) == (0, 0)


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out():
    cache = Cache(Rules(memory_bytes=16_000))
    keep(cache, "a", answer())
    keep(cache, "b", answer(1001 - OVERHEAD_BYTES))
    assert len(cache) == 1
    keep(cache, "b", answer(1000 - OVERHEAD_BYTES))
    assert len(cache) == 2


def test_one_fetches_and_the_others_are_woken_once():
    cache, woken = Cache(Rules()), []
    lead = cache.ask(key("a"), 0.0)
    assert isinstance(lead, Lead)
    for n in range(3):
        follow = cache.ask(key("a"), 0.0)
        assert isinstance(follow, Follow)
        assert follow.flight is lead.flight
        follow.flight.waiting.append(lambda n=n: woken.append(n))
    cache.landed(lead.flight, "left", 0.0)
    cache.landed(lead.flight, "failed", 0.0)
    assert (woken, lead.flight.end) == ([0, 1, 2], "left")
    assert isinstance(cache.ask(key("a"), 0.0), Lead)


def test_what_was_on_its_way_at_a_reload_is_not_kept():
    cache = Cache(Rules())
    lead = cache.ask(key("a"), 0.0)
    assert isinstance(lead, Lead)
    cache.clear()
    lead.flight.answer = answer()
    cache.landed(lead.flight, "answered", 0.0)
    assert len(cache) == 0


class Machine(RuleBasedStateMachine):
    limits = Rules(ttl_s=10.0, entries=4, memory_bytes=16 * 600)

    def __init__(self) -> None:
        super().__init__()
        self.cache = Cache(self.limits)
        self.now = 0.0
        self.kept: list[tuple[str, float, Answer]] = []
        self.flights: dict[str, Flight] = {}
        self.cleared: list[Flight] = []
        """On their way when all was dropped: their followers still wait."""
        self.woken: dict[Flight, list[int]] = {}
        """How often each follower was."""

    @rule(seconds=st.sampled_from([0.0, 4.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(name=st.sampled_from("abcdefgh"))
    def ask(self, name):
        found = self.cache.ask(key(name), self.now)
        kept = next((each for each in self.kept if each[0] == name), None)
        if kept is not None:
            self.kept.remove(kept)
            if self.now - kept[1] < 10.0:
                self.kept.append(kept)
                assert found == Hit(kept[2])
                return
        if name in self.flights:
            assert isinstance(found, Follow)
            assert found.flight is self.flights[name]
            self.follow(found.flight)
        else:
            assert isinstance(found, Lead)
            self.flights[name] = found.flight
            self.woken[found.flight] = []

    def follow(self, flight: Flight) -> None:
        woken = self.woken[flight]
        number = len(woken)
        woken.append(0)

        def wake() -> None:
            woken[number] += 1

        flight.waiting.append(wake)

    @precondition(lambda self: self.flights)
    @rule(
        n=st.integers(0, 7),
        size=st.sampled_from([0, 150, 201]),
        end=st.sampled_from(["answered", "failed", "left"]),
    )
    def land(self, n, size, end):
        name = sorted(self.flights)[n % len(self.flights)]
        flight = self.flights.pop(name)
        if end == "answered":
            flight.answer = answer(size)
        self.cache.landed(flight, end, self.now)
        if end == "answered" and size != 201:
            self.kept = [each for each in self.kept if each[0] != name]
            self.kept.append((name, self.now, flight.answer))
            while len(self.kept) > 4 or sum(each[2].size for each in self.kept) > 9600:
                self.kept.pop(0)
        self.ended(flight)

    def ended(self, flight: Flight) -> None:
        """Each follower is told once, also when it is said twice."""
        self.cache.landed(flight, "failed", self.now)
        assert all(times == 1 for times in self.woken.pop(flight))

    @precondition(lambda self: self.cleared)
    @rule(answered=st.booleans())
    def land_what_was_cleared(self, answered):
        flight = self.cleared.pop()
        flight.answer = answer() if answered else None
        self.cache.landed(flight, "answered" if answered else "failed", self.now)
        self.ended(flight)

    @rule()
    def clear(self):
        self.cache.clear()
        self.kept.clear()
        self.cleared += self.flights.values()
        self.flights.clear()

    @invariant()
    def one_at_a_time_fetches_and_nobody_is_told_before_it_has_ended(self):
        assert len(set(self.flights.values())) == len(self.flights)
        assert all(times == 0 for followers in self.woken.values() for times in followers)

    @invariant()
    def agrees(self):
        assert len(self.cache) == len(self.kept)
        assert self.cache.bytes == sum(each[2].size for each in self.kept) <= self.limits.memory_bytes


Machine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=60, deadline=None)
TestMachine = Machine.TestCase
