"""The balancer through reloads, drains, failures and every policy, against a list of who holds what."""

from __future__ import annotations

import math
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.config import Backend as Wanted
from gateway.config import Balancing, Breaker, Config, Model
from gateway.policy.balancer import Backend, Balancer, Full, Nobody, Place
from tests.examples import examples

POLICIES = st.sampled_from(["least_in_flight", "power_of_two", "prefix_hash", "weighted"])
BACKENDS = st.dictionaries(
    st.sampled_from("abcd"), st.tuples(st.sampled_from([1, 2]), st.sampled_from([None, 1, 2])), min_size=1
)
"""By id: the port, and how many calls it computes."""


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.balancer = Balancer(random.Random(0).random)
        self.now = 0.0
        self.held: list[Place] = []
        self.known: dict[tuple[str, str], Backend] = {}
        self.drained: set[str] = set()
        self.ever: set[Backend] = set()

    @initialize(backends=BACKENDS, policy=POLICIES)
    def begins(self, backends, policy):
        self.reload(backends, policy)
        for backend in self.balancer.backends():
            backend.health.probed("answered", "", 0.0, 10.0, 1.0)

    @rule(backends=BACKENDS, policy=POLICIES)
    def reload(self, backends, policy):
        wanted = tuple(
            Wanted(id=each, url=f"http://h:{port}", concurrency=most, weight=port)
            for each, (port, most) in sorted(backends.items())
        )
        model = Model(name="m", served_name="m", tasks=("chat",), backends=wanted)
        rules = Breaker(failures=2, recovery_s=10.0)
        config = Config(models=(model,), balancing=Balancing(policy=policy), breaker=rules)
        gone = self.balancer.configure(config, self.now)
        now = {(each.id, each.url): each for each in self.balancer.backends()}
        assert set(now) == {(each.id, each.url) for each in wanted}
        assert set(gone) == {each for key, each in self.known.items() if key not in now}
        assert all(now[key] is each for key, each in self.known.items() if key in now)
        self.drained &= {each.id for each in self.known.values()} & {each.id for each in wanted}
        self.known, self.ever = now, self.ever | set(now.values())

    @rule(key=st.sampled_from([b"", b"x", b"y"]), without=st.booleans())
    def take(self, key, without):
        but = (self.held[-1].backend,) if without and self.held else ()
        ready = [each for each in self.balancer.of("m") if each.takes_requests and each not in but]
        closed = [each for each in ready if each.breaker.state == "closed"]
        due = [each for each in ready if each.breaker.lets_through(self.now)]
        best = closed or due or ready
        room = {each for each in best if each.in_flight < each.capacity}
        spare = [self.balancer.spare("m", each) for each in but]
        nobody = self.balancer.look("m", self.now, but)
        found = self.balancer.choose("m", self.now, key, but)
        assert isinstance(found, Nobody) == (not ready) == (nobody is not None)
        if isinstance(found, Place):
            assert found.backend in room
            self.held.append(found)
        elif isinstance(found, Full):
            assert best
            assert not room
        if spare:
            assert spare[0] == bool(closed and room)

    @precondition(lambda self: self.held)
    @rule(at=st.integers(0, 50), fact=st.sampled_from(["success", "failure", "neutral"]))
    def release(self, at, fact):
        place = self.held.pop(at % len(self.held))
        before = place.backend.breaker.state
        changed = self.balancer.release(place, fact, self.now, failed=fact == "failure")
        assert changed == (place.backend.breaker.state != before)

    @rule(at=st.integers(0, 3), up=st.booleans())
    def health(self, at, up):
        group = self.balancer.backends()
        health = group[at % len(group)].health
        if up:
            health.probed("answered", "", self.now, 10.0, 1.0)
        else:
            health.connect_failed("refused", self.now)

    @rule(at=st.integers(0, 3), drained=st.booleans())
    def drain(self, at, drained):
        group = self.balancer.backends()
        backend = group[at % len(group)]
        backend.drained = drained
        (self.drained.add if drained else self.drained.discard)(backend.id)

    @rule(seconds=st.sampled_from([1.0, 15.0]))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def counts_are_those_of_who_holds_a_place(self):
        for backend in self.ever:
            assert backend.in_flight == sum(place.backend is backend for place in self.held)
        assert self.balancer.in_flight == len(self.held)

    @invariant()
    def a_drain_belongs_to_the_id(self):
        assert {each.id for each in self.balancer.backends() if each.drained} == self.drained

    def teardown(self) -> None:
        for place in self.held:
            self.balancer.release(place, "neutral", self.now, failed=False)
        assert self.balancer.in_flight == 0
        assert all(each.in_flight == 0 for each in self.ever)
        assert all(each.breaker.lets_through(math.inf) for each in self.ever)


Machine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=50, deadline=None)
TestMachine = Machine.TestCase
