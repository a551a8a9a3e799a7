"""Counts of the balancer and the table of health, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Backend as Wanted
from gateway.config import Breaker, Config, Model
from gateway.policy.balancer import Balancer, Nobody, Place
from gateway.policy.health import TABLE, Health
from tests.examples import examples


def model(name: str, *ids: str) -> Model:
    return Model(
        name=name,
        served_name=name,
        tasks=("chat",),
        backends=tuple(Wanted(id=each, url=f"http://{each}:1") for each in ids),
    )


def ready(*ids: str) -> Balancer:
    balancer = Balancer()
    balancer.configure(Config(models=(model("m", *ids),)), 0.0)
    for backend in balancer.backends():
        backend.health.probed("answered", "", 0.0, 10.0, 1.0)
    return balancer


def chosen(balancer: Balancer) -> Place:
    place = balancer.choose("m", 0.0)
    assert isinstance(place, Place)
    return place


def test_idle_replicas_share_the_work_in_turn():
    balancer = ready("a", "b", "c")
    ids = []
    for _ in range(9):
        place = chosen(balancer)
        ids.append(place.backend.id)
        balancer.release(place, "success", 0.0, failed=False)
    assert sorted(ids) == sorted("abc" * 3)


@given(
    st.lists(
        st.one_of(st.just("take"), st.integers(0, 30), st.sampled_from(["drain", "undrain", "down", "up"]))
    )
)
@settings(max_examples=examples(200), deadline=None)
def test_counts_are_right_and_nobody_unfit_is_chosen(steps):
    balancer = ready("a", "b", "c")
    first = balancer.backends()[0]
    held: list[Place] = []
    for step in steps:
        if step == "take":
            place = balancer.choose("m", 0.0)
            fit = [each for each in balancer.backends() if each.takes_requests]
            if not isinstance(place, Place):
                assert not fit
                continue
            backend = place.backend
            assert backend in fit
            assert backend.in_flight - 1 == min(each.in_flight - (each is backend) for each in fit)
            held.append(place)
        elif step == "drain":
            first.drained = True
        elif step == "undrain":
            first.drained = False
        elif step == "down":
            first.health.connect_failed("refused", 1.0)
        elif step == "up":
            first.health.probed("answered", "", 1.0, 10.0, 1.0)
        elif held:
            balancer.release(held.pop(step % len(held)), "success", 0.0, failed=False)
        assert sum(each.in_flight for each in balancer.backends()) == len(held)


def test_a_new_configuration_keeps_the_counts_of_backends_it_knows():
    balancer = ready("a", "b")
    held = [chosen(balancer), chosen(balancer)]
    a, b = balancer.backends()
    a.drained = True
    gone = balancer.configure(Config(models=(model("m", "a", "c"),)), 5.0)
    assert gone == (b,)
    assert balancer.get("a") is a
    assert a.drained
    assert a.in_flight == 1
    assert balancer.of("m")[1].state == "loading"
    for place in held:
        balancer.release(place, "failure", 5.0, failed=True)
    assert (a.in_flight, b.in_flight, a.errors) == (0, 0, 1)


def test_nobody_says_whether_waiting_helps():
    balancer = Balancer()
    balancer.configure(Config(models=(model("m", "a", "b"),)), 0.0)
    a, b = balancer.backends()
    nobody = balancer.choose("m", 0.0)
    assert isinstance(nobody, Nobody)
    assert (nobody.code, nobody.retry_at) == ("model_loading", 0.0)
    for each in (a, b):
        each.health.probed("answered", "", 1.0, 10.0, 1.0)
        each.health.connect_failed("refused", 2.0)
    nobody = balancer.choose("m", 0.0)
    assert isinstance(nobody, Nobody)
    assert nobody.code == "no_healthy_backend"
    assert "a: refused; b: refused" in nobody.why
    a.drained = b.drained = True
    nobody = balancer.choose("m", 0.0)
    assert isinstance(nobody, Nobody)
    assert nobody.retry_at is None


def test_a_drained_backend_is_draining_while_it_works():
    balancer = ready("a")
    place = chosen(balancer)
    backend = place.backend
    backend.drained = True
    assert backend.state == "draining"
    balancer.release(place, "success", 0.0, failed=False)
    assert backend.state == "drained"


def test_the_table_of_health_is_complete_and_only_an_answer_makes_ready():
    states, facts = {state for state, _ in TABLE}, {fact for _, fact in TABLE}
    assert len(TABLE) == len(states) * len(facts)
    for (state, fact), then in TABLE.items():
        assert (then == "ready") == (fact == "answered" or (state == "ready" and then == "ready"))
        assert not (then == "loading" and state != "loading")


def test_the_next_probe_is_soon_unless_ready():
    health = Health(0.0)
    assert health.next_probe == 0.0
    assert not health.probed("unreachable", "refused", 1.0, 10.0, 1.0)
    assert (health.state, health.next_probe, health.why) == ("loading", 2.0, "refused")
    assert health.probed("answered", "", 2.0, 10.0, 1.0)
    assert (health.state, health.next_probe, health.why) == ("ready", 12.0, "")
    assert health.connect_failed("refused", 5.0)
    assert (health.state, health.next_probe) == ("down", 5.0)


def test_the_time_to_come_back_is_that_of_loading_as_it_was_the_last_time():
    health = Health(0.0, takes_s=60.0)
    health.probed("unreachable", "refused", 1.0, 10.0, 1.0)
    assert health.expected_at(1.0) == 60.0
    assert health.expected_at(61.0) == 2.0  # it is late: with the next probe
    health.probed("answered", "", 90.0, 10.0, 1.0)
    assert (health.takes_s, health.away_since) == (90.0, None)
    health.connect_failed("refused", 200.0)
    health.probed("unreachable", "refused", 201.0, 10.0, 1.0)
    assert health.expected_at(201.0) == 290.0
    health.probed("answered", "", 201.5, 10.0, 1.0)
    assert health.takes_s == 90.0  # so soon was no loading
    health.probed("unwell", "500", 300.0, 10.0, 1.0)
    assert health.expected_at(300.0) == 301.0


def test_nobody_is_retried_when_the_first_backend_is_expected():
    balancer = Balancer()
    balancer.configure(Config(models=(model("m", "a", "b"),)), 0.0)
    for backend, takes_s in zip(balancer.backends(), (50.0, 30.0), strict=True):
        backend.health.takes_s = takes_s
    nobody = balancer.choose("m", 1.0)
    assert isinstance(nobody, Nobody)
    assert (nobody.code, nobody.retry_at) == ("model_loading", 30.0)


@given(
    st.lists(
        st.one_of(
            st.just("take"),
            st.just("retry"),
            st.tuples(st.integers(0, 30), st.sampled_from(["success", "failure", "neutral"])),
            st.tuples(st.sampled_from("abc"), st.sampled_from(["down", "up", "drain", "undrain"])),
            st.sampled_from([0.5, 5.0, 40.0]),
        ),
        max_size=120,
    )
)
@settings(max_examples=examples(300), deadline=None)
def test_no_sequence_leaks_a_place_or_passes_a_capacity_or_ejects_the_last(steps):  # noqa: C901 - a branch a step
    balancer, now = Balancer(), 0.0
    wanted = tuple(Wanted(id=each, url=f"http://{each}:1", concurrency=2) for each in "abc")
    group = Model(name="m", served_name="m", tasks=("chat",), backends=wanted)
    balancer.configure(Config(models=(group,), breaker=Breaker(failures=2, recovery_s=10.0)), now)
    for backend in balancer.backends():
        backend.health.probed("answered", "", now, 10.0, 1.0)
    held: list[Place] = []
    for step in steps:
        if isinstance(step, float):
            now += step
        elif step in {"take", "retry"}:
            without = (held[-1].backend,) if step == "retry" and held else ()
            ready = [each for each in balancer.backends() if each.takes_requests and each not in without]
            closed = [each for each in ready if each.breaker.state == "closed"]
            place = balancer.choose("m", now, b"", without)
            if isinstance(place, Place):
                assert place.backend in (closed or ready)
                held.append(place)
            elif isinstance(place, Nobody):
                assert not ready
            else:  # whoever may take calls is full; where all breakers are open, that is everybody
                due = closed or [each for each in ready if each.breaker.lets_through(now)] or ready
                assert due
                assert all(each.in_flight == 2 for each in due)
        elif isinstance(step[0], str):
            backend = balancer.get(step[0])
            assert backend is not None
            if step[1] == "down":
                backend.health.connect_failed("refused", now)
            elif step[1] == "up":
                backend.health.probed("answered", "", now, 10.0, 1.0)
            else:
                backend.drained = step[1] == "drain"
        elif held:
            balancer.release(held.pop(step[0] % len(held)), step[1], now, failed=step[1] == "failure")
        assert balancer.in_flight == sum(each.in_flight for each in balancer.backends()) == len(held)
        assert all(0 <= each.in_flight <= 2 for each in balancer.backends())
    for place in held:
        balancer.release(place, "neutral", now, failed=False)
    assert balancer.in_flight == 0
    assert all(each.breaker.lets_through(now + 1000) for each in balancer.backends())


def test_breakers_pass_over_a_backend_and_never_all_of_them():
    balancer = Balancer()
    two = Config(models=(model("m", "a", "b"),), breaker=Breaker(failures=1, recovery_s=10.0))
    balancer.configure(two, 0.0)
    a, b = balancer.backends()
    for each in (a, b):
        each.health.probed("answered", "", 0.0, 10.0, 1.0)
    a.breaker.report(a.breaker.take(0.0), "failure", 0.0)
    for _ in range(3):
        assert chosen(balancer).backend is b
    tried = balancer.choose("m", 1.0, b"", (b,))
    assert isinstance(tried, Place)
    assert (tried.backend, tried.permit) == (a, a.breaker.take(1.0))
    b.breaker.report(b.breaker.take(0.0), "failure", 0.0)
    assert {chosen(balancer).backend.id for _ in range(4)} == {"a", "b"}
    b.health.connect_failed("refused", 1.0)
    assert chosen(balancer).backend is a
