"""The life of a service as a table of facts and commands; no clock, no process."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infctl.engine.lifecycle import (
    BACKOFF_MAX_S,
    CRASHES_BEFORE_READY_MAX,
    Machine,
    Unit,
    Wanted,
    backoff_s,
)
from tests.examples import examples


def made(*services: Wanted) -> Machine:
    machine = Machine()
    machine.want(services)
    return machine


def done(machine: Machine, now: float) -> list[str]:
    return [f"{c.kind} {c.service}" for c in machine.step(now)]


def told(machine: Machine) -> list[str]:
    return [f"{h.service} {h.kind} {h.text}".rstrip() for h in machine.take_happened()]


def chat(**fields) -> Wanted:
    return Wanted("chat", **{"spec_hash": "1", "ready_timeout_s": 600.0, **fields})


def test_backoff_doubles_up_to_its_cap():
    assert [backoff_s(n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_s(10_000) == BACKOFF_MAX_S


def test_a_wanted_service_is_started_and_ready_once_it_answers():
    machine = made(chat())
    assert done(machine, 0.0) == ["start chat"]
    assert done(machine, 1.0) == []
    machine.answered("chat", 40.0)
    assert told(machine) == ["chat ready"]
    assert done(machine, 41.0) == []


def test_a_service_without_a_readiness_url_is_ready_when_it_stayed_up_a_second():
    machine = made(Wanted("nginx"))
    assert done(machine, 0.0) == ["start nginx"]
    assert machine.next_at(0.0) == 1.0
    assert done(machine, 1.0) == []
    assert machine.units["nginx"].state == "ready"


def test_a_crash_after_ready_backs_off_for_ever_and_is_forgiven_after_a_minute_of_being_ready():
    machine = made(chat())
    done(machine, 0.0)
    machine.answered("chat", 0.0)
    now, waits = 0.0, []
    for _ in range(8):
        machine.ended("chat", "exit code 1", now)
        due = machine.next_at(now)
        waits.append(due - now)
        assert done(machine, due - 0.01) == []
        assert done(machine, due) == ["start chat"]
        now = due
        machine.answered("chat", now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    done(machine, now + 60.0)
    machine.ended("chat", "exit code 1", now + 60.0)
    assert machine.next_at(now + 60.0) == now + 61.0
    assert machine.units["chat"].restarts == 8


def test_a_service_that_was_never_ready_is_given_up_after_three_crashes():
    machine = made(chat())
    now = 0.0
    for _ in range(CRASHES_BEFORE_READY_MAX):
        assert done(machine, now) == ["start chat"]
        machine.ended("chat", "exit code 1", now)
        now += 100.0
    assert done(machine, now) == []
    assert told(machine) == [
        "chat crashed exit code 1; again in 1 s",
        "chat crashed exit code 1; again in 2 s",
        "chat failed exit code 1",
    ]


def test_what_cannot_be_started_at_all_is_given_up_at_once():
    machine = made(chat())
    done(machine, 0.0)
    machine.ended("chat", "could not be started: no such file", 0.0, hopeless=True)
    assert machine.units["chat"].state == "failed"


def test_a_given_up_service_is_tried_again_when_a_person_asks():
    machine = made(chat())
    done(machine, 0.0)
    machine.ended("chat", "exit code 1", 0.0, hopeless=True)
    machine.want([chat(nonce=1)])
    assert done(machine, 1.0) == ["start chat"]


def test_a_start_that_takes_too_long_is_stopped_and_given_up():
    machine = made(chat(ready_timeout_s=100.0, stop_timeout_s=5.0))
    done(machine, 0.0)
    assert done(machine, 99.0) == []
    assert done(machine, 100.0) == ["stop chat"]
    assert done(machine, 105.0) == ["kill chat"]
    assert done(machine, 106.0) == []
    machine.ended("chat", "killed by SIGKILL", 106.0)
    assert told(machine)[-1] == "chat failed not ready after 100 s"


def test_a_restart_that_takes_too_long_is_tried_again_if_it_once_was_ready():
    machine = made(chat(ready_timeout_s=100.0))
    done(machine, 0.0)
    machine.answered("chat", 10.0)
    machine.ended("chat", "exit code 1", 20.0)
    done(machine, 21.0)
    done(machine, 121.0)
    machine.ended("chat", "exit code 0", 122.0)
    assert machine.units["chat"].state == "backoff"


def test_of_a_start_group_one_at_a_time_is_loading():
    machine = made(chat(start_group="cpu"), Wanted("embed", start_group="cpu", ready_timeout_s=9))
    assert done(machine, 0.0) == ["start chat"]
    assert told(machine) == ["embed waiting chat to be ready"]
    assert done(machine, 1.0) == []
    machine.answered("chat", 40.0)
    assert done(machine, 40.0) == ["start embed"]


def test_of_a_start_group_one_at_a_time_is_loading_on_a_restart_too():
    machine = made(chat(start_group="gpu 0"), Wanted("embed", start_group="gpu 0", ready_timeout_s=9))
    done(machine, 0.0)
    machine.answered("chat", 1.0)
    done(machine, 1.0)
    machine.answered("embed", 2.0)
    machine.ended("chat", "killed by SIGKILL", 3.0)
    machine.ended("embed", "killed by SIGKILL", 3.0)
    assert done(machine, 5.0) == ["start chat"]
    assert done(machine, 6.0) == []
    machine.answered("chat", 7.0)
    assert done(machine, 7.0) == ["start embed"]


def test_a_neighbour_waits_until_a_stopping_one_has_freed_its_memory():
    machine = made(chat(start_group="gpu 0"))
    done(machine, 0.0)
    machine.answered("chat", 1.0)
    machine.want([Wanted("embed", start_group="gpu 0")])
    assert done(machine, 2.0) == ["stop chat"]
    assert done(machine, 3.0) == []
    machine.ended("chat", "exit code 0", 4.0)
    assert done(machine, 4.0) == ["start embed"]


def test_after_waits_for_the_start_not_for_readiness():
    machine = made(chat(), Wanted("gateway", after=("chat",)))
    assert done(machine, 0.0) == ["start chat", "start gateway"]


def test_after_waits_for_a_service_that_waits_for_its_group():
    machine = made(
        chat(start_group="g"),
        Wanted("embed", start_group="g", ready_timeout_s=9),
        Wanted("gateway", after=("chat", "embed")),
    )
    assert done(machine, 0.0) == ["start chat"]
    machine.answered("chat", 1.0)
    assert done(machine, 1.0) == ["start embed", "start gateway"]


def test_down_stops_in_reverse_order():
    machine = made(chat(), Wanted("gateway", after=("chat",)), Wanted("nginx", after=("gateway",)))
    done(machine, 0.0)
    machine.answered("chat", 2.0)
    done(machine, 2.0)
    machine.want([])
    assert done(machine, 3.0) == ["stop nginx"]
    machine.ended("nginx", "exit code 0", 4.0)
    assert done(machine, 4.0) == ["stop gateway"]
    machine.ended("gateway", "exit code 0", 5.0)
    assert done(machine, 5.0) == ["stop chat"]
    machine.ended("chat", "exit code 0", 6.0)
    assert done(machine, 6.0) == []
    assert machine.is_empty


def test_a_changed_spec_stops_the_old_process_before_the_new_one_starts():
    machine = made(chat())
    done(machine, 0.0)
    machine.answered("chat", 1.0)
    machine.want([chat(spec_hash="2")])
    assert done(machine, 2.0) == ["stop chat"]
    assert done(machine, 3.0) == []
    machine.ended("chat", "exit code 0", 4.0)
    assert done(machine, 4.0) == ["start chat"]


def test_a_changed_order_or_limit_touches_no_process():
    machine = made(chat())
    done(machine, 0.0)
    machine.answered("chat", 1.0)
    machine.want([chat(stop_timeout_s=99.0, start_group="g", ready_timeout_s=5.0)])
    assert done(machine, 2.0) == []


def test_a_changed_file_is_reloaded_once():
    machine = made(chat(files_hash="a"))
    done(machine, 0.0)
    machine.answered("chat", 1.0)
    machine.want([chat(files_hash="b")])
    assert done(machine, 2.0) == ["reload chat"]
    assert done(machine, 3.0) == []


def test_a_file_that_changes_during_the_start_is_reloaded_once_ready():
    machine = made(chat(files_hash="a"))
    done(machine, 0.0)
    machine.want([chat(files_hash="b")])
    assert done(machine, 1.0) == []
    machine.answered("chat", 2.0)
    assert done(machine, 2.0) == ["reload chat"]


def test_an_adopted_service_is_not_started_again():
    machine = Machine()
    machine.adopt("chat", Unit(chat(), chat(), state="ready", started_at=1.0, ready_at=2.0))
    machine.want([chat()])
    assert done(machine, 3.0) == []


def test_wanting_a_service_again_while_it_stops_starts_it_again():
    machine = made(chat())
    done(machine, 0.0)
    machine.answered("chat", 1.0)
    machine.want([])
    assert done(machine, 2.0) == ["stop chat"]
    machine.want([chat()])
    assert done(machine, 3.0) == []
    machine.ended("chat", "exit code 0", 4.0)
    done(machine, 4.0)
    assert done(machine, 4.1) == [] or machine.units["chat"].state == "starting"
    assert machine.units["chat"].state == "starting"


def test_a_service_keeps_its_neighbours_waiting_in_the_group_it_was_started_in():
    machine = Machine()
    machine.want([Wanted("c", start_group="g")])
    machine.step(0.0)
    machine.want([Wanted("a", start_group="g"), Wanted("c")])
    assert machine.step(0.1) == []
    assert machine.units["a"].waits_for == "c to be ready"


NAMES = ("a", "b", "c")


class AnyLife(RuleBasedStateMachine):
    """Whatever is wished and whatever happens, the hands are never told to make a second copy."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.now = 0.0
        self.alive: dict[str, str] = {}
        """What the world runs: name -> the start group it was started in."""
        self.loading: set[str] = set()

    @rule(
        wanted=st.dictionaries(
            st.sampled_from(NAMES),
            st.builds(
                lambda spec, files, nonce, group, ready: (spec, files, nonce, group, ready),
                st.sampled_from("12"),
                st.sampled_from("xy"),
                st.integers(0, 2),
                st.sampled_from([None, "g"]),
                st.sampled_from([None, 50.0]),
            ),
        ),
        chained=st.booleans(),
    )
    def wish(self, wanted, chained):
        services = []
        for name, (spec, files, nonce, group, ready) in wanted.items():
            after = tuple(s.name for s in services[-1:]) if chained else ()
            services.append(Wanted(name, spec, files, nonce, group, after, ready, 5.0))
        self.machine.want(services)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 6.0, 70.0]))
    def time_passes(self, seconds):
        self.now += seconds
        commands = self.machine.step(self.now)
        self.loading = {n for n in self.loading if self.machine.units[n].state != "ready"}
        for command in commands:
            name = command.service
            if command.kind == "start":
                assert name not in self.alive, "a second copy"
                unit = self.machine.units[name]
                group = unit.running.start_group or name
                neighbours = [n for n, g in self.alive.items() if g == group and n in self.loading]
                assert not neighbours, "two loading in one group"
                self.alive[name] = group
                self.loading.add(name)
            else:
                assert name in self.alive, f"{command.kind} of what is not there"

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), hopeless=st.booleans())
    def one_ends(self, data, hopeless):
        name = data.draw(st.sampled_from(sorted(self.alive)))
        del self.alive[name]
        self.loading.discard(name)
        self.machine.ended(name, "exit code 1", self.now, hopeless=hopeless)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def one_answers(self, data):
        name = data.draw(st.sampled_from(sorted(self.alive)))
        self.machine.answered(name, self.now)
        if self.machine.units[name].state == "ready":
            self.loading.discard(name)

    @invariant()
    def the_books_fit_the_world(self):
        believed = {name for name, unit in self.machine.units.items() if unit.is_alive}
        assert believed == set(self.alive)

    def teardown(self):
        """Whatever was, a wish for nothing ends with nothing."""
        self.machine.want([])
        for _ in range(4 * len(NAMES)):
            self.now += 10.0
            self.machine.step(self.now)
            for name in list(self.alive):
                if self.machine.units[name].state == "stopping":
                    del self.alive[name]
                    self.machine.ended(name, "exit code 0", self.now)
        self.machine.step(self.now)
        assert self.machine.is_empty


AnyLife.TestCase.settings = settings(
    max_examples=examples(100),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnyLife = pytest.mark.timeout(120)(AnyLife.TestCase)
