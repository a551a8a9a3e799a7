"""What fetches weights, by itself: with what it needs, and nothing else touched."""

from __future__ import annotations

from infctl.engine.docker import one_shots
from infctl.engine.docker.observed import Seen, Snapshot
from infctl.engine.docker.reconcile import Plan, Step
from infctl.engine.model import Action
from infctl.stack import Service, Stack
from infctl.stack.containers import Attachment, Container, Mount, Needs, Network, Project, Volume
from tests.infctl.engine.docker.conftest import Toy, needs


def stack(*, fetches: bool = True) -> Stack:
    prepare = Container("prepare", "prepare", "gw:1", restart="no", mounts=(Mount("volume", "keys", "/k"),))
    weights = Container(
        "weights",
        "weights",
        "vllm:1",
        restart="no",
        networks=(Attachment("egress"),),
        needs=(Needs("prepare", "service_completed_successfully"),),
    )
    chat = Container(
        "chat",
        "engine",
        "vllm:1",
        networks=(Attachment("backend"),),
        mounts=(Mount("volume", "cache", "/c"),),
        needs=(Needs("weights", "service_completed_successfully"),),
    )
    found = (prepare, weights, chat) if fetches else (prepare, chat)
    networks = (Network("backend", "p_backend"), Network("egress", "p_egress"))
    volumes = (Volume("keys", "p_keys"), Volume("cache", "p_cache"))
    watching = Project("p-monitoring", "m.yml", "/", (Container("prometheus", "monitoring", "prom:1"),))
    main = Project("p", "c.yml", "/", found, networks, volumes)
    return Stack("p", "docker", (Service("chat", "engine", ()),), projects=(main, watching))


def test_what_fetches_comes_with_what_it_needs_and_no_more() -> None:
    (project,) = one_shots.part_of(stack()).projects
    assert [one.service for one in project.containers] == ["prepare", "weights"]
    assert [one.key for one in project.networks] == ["egress"]
    assert [one.key for one in project.volumes] == ["keys"]
    assert one_shots.part_of(stack()).services == ()


def test_a_platform_without_models_of_the_hub_has_nothing_to_fetch() -> None:
    assert one_shots.part_of(stack(fetches=False)).projects == ()


def test_nothing_is_removed_and_what_fetched_before_is_started_again() -> None:
    part = one_shots.part_of(stack())
    done = Seen("1", "p-weights-1", "p", "weights", status="exited", started_at=1.0)
    gone = Step(Action("remove", "chat", "no longer in the profile"), "container")
    made = Step(Action("create", "volume keys", "not there"), "volume", part.projects[0])
    found = one_shots.plan_of(part, Plan(steps=(gone, made)), Snapshot(containers=(done,)))
    assert [(step.action.kind, step.action.service) for step in found.steps] == [
        ("create", "volume keys"),
        ("start", "weights"),
    ]


def test_weights_are_fetched_on_a_real_engine_while_others_run(toy: Toy) -> None:
    fetch = toy.one_shot("weights", "echo fetched", role="weights", name="")
    chat = toy.container("chat", needs=needs("weights", "service_completed_successfully"))
    events = list(toy.engine.fetch(toy.stack(fetch, chat)))
    assert [event.service for event in events if event.kind == "ready"] == ["weights"]
    assert [one.service for one in toy.engine._look(None).containers] == ["weights"]

    toy.up(fetch, chat)
    before = toy.ids()
    again = list(toy.engine.fetch(toy.stack(fetch, chat)))
    assert [event.service for event in again if event.kind == "ready"] == ["weights"]
    assert toy.ids() == before
    log = [line.text for line in toy.engine.logs(("weights",))]
    assert log.count("fetched") == 2
