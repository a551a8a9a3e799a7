"""What may start when: as early as it can, and neighbours on a GPU never together."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from infctl.engine.docker.reconcile import Step
from infctl.engine.docker.schedule import Board, board
from infctl.engine.model import Action
from infctl.stack.containers import Container, Needs, Project
from tests.examples import examples

KEY = "p"


def step(
    service: str, *needs: str, kind: str = "create", condition: str = "service_healthy", **fields
) -> Step:
    container = Container(
        service, "engine", "i", needs=tuple(Needs(need, condition) for need in needs), **fields
    )
    return Step(Action(kind, service, "why"), "container", Project("p", "f", "/p", (container,)), container)


def due(made: Board) -> list[str]:
    """All that may start now, started."""
    found = []
    while (one := made.due()) is not None:
        made.began(one)
        found.append(one.action.service)
    return found


def test_what_needs_nothing_starts_at_once():
    made = board([step("a"), step("b")], [], [])
    assert due(made) == ["a", "b"]


def test_neighbours_on_a_gpu_start_one_after_the_other():
    made = board([step("a"), step("b", "a"), step("c", "b"), step("other")], [], [])
    assert due(made) == ["a", "other"]
    made.done(("p", "a"))
    assert due(made) == ["b"]
    assert due(made) == []
    made.done(("p", "b"))
    assert due(made) == ["c"]


def test_a_need_that_is_only_to_be_started_is_met_when_it_was():
    made = board([step("a"), step("b", "a", condition="service_started")], [], [])
    assert due(made) == ["a", "b"]


def test_what_runs_already_meets_a_need():
    assert due(board([step("b", "a")], [("p", "a")], [])) == ["b"]


def test_what_loads_already_is_waited_for():
    made = board([step("b", "a")], [], [("p", "a")])
    assert due(made) == []
    made.done(("p", "a"))
    assert due(made) == ["b"]


def test_one_that_serves_is_replaced_when_nothing_else_loads_and_alone():
    made = board([step("a", kind="replace"), step("b"), step("c", kind="replace")], [], [])
    first = made.due()
    assert first is not None
    assert first.action.service == "a"
    made.began(first)
    made.done(("p", "a"))
    assert due(made) == ["b"]
    made.done(("p", "b"))
    assert due(made) == ["c"]


def test_a_one_shot_is_made_anew_among_the_others():
    made = board([step("prepare", kind="replace", restart="no"), step("a")], [], [])
    assert due(made) == ["prepare", "a"]


def test_a_need_is_met_when_all_its_containers_are():
    made = board([step("a"), step("a"), step("b", "a")], [], [])
    assert due(made) == ["a", "a"]
    made.done(("p", "a"))
    assert due(made) == []
    made.done(("p", "a"))
    assert due(made) == ["b"]


def test_a_need_is_not_met_while_one_of_its_containers_is_still_to_be_replaced():
    made = board([step("a", kind="replace"), step("b", "a")], [("p", "a")], [])
    first = made.due()
    assert first is not None
    assert first.action.service == "a"
    made = board([step("b", "a"), step("a", "c"), step("c")], [("p", "a")], [])
    assert due(made) == ["c"]


def test_a_need_that_nobody_meets_is_named():
    made = board([step("b", "lost")], [], [])
    assert made.due() is None
    assert made.stuck() == "b needs lost, which does not run"


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8))
def test_whatever_needs_what_everything_starts_and_nothing_before_its_needs(needs: list[set[int]]):
    steps = [step(str(i), *(str(n) for n in sorted(wanted) if n < i)) for i, wanted in enumerate(needs)]
    made = board(steps, [], [])
    ready: set[str] = set()
    running = due(made)
    while running:
        for name in running:
            container = next(one.container for one in steps if one.action.service == name)
            assert container is not None
            assert {need.service for need in container.needs} <= ready
        ready.add(running[0])
        made.done(("p", running[0]))
        running = [*running[1:], *due(made)]
    assert ready == {one.action.service for one in steps}
