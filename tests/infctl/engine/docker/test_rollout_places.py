"""A replace with the old container set aside: every step may fail, or be the last one before a kill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from infctl.engine.docker import rollout_places as places
from infctl.engine.docker.rollout_places import Stand, Step

RENAMES = {
    "set aside": ("", "-old"),
    "take over": ("-next", ""),
    "step aside": ("", "-next"),
    "come back": ("-old", ""),
}


@dataclass
class World:
    """Containers by the ending of their name: (which one, status). What a step does to them, and no more."""

    there: dict[str, tuple[str, str]] = field(default_factory=lambda: {"": ("old", "running")})
    drained: bool = False
    proven: bool = False
    new_works: bool = True

    def stand(self) -> Stand:
        return Stand(*(self.there.get(ending, ("", ""))[1] for ending in ("", "-next", "-old")))

    def do(self, step: Step) -> bool:  # noqa: C901 - a step a branch
        """False: it failed."""
        main = self.there.get("")
        if step in RENAMES:
            before, after = RENAMES[step]
            if before in self.there:
                assert after not in self.there, f"{step}: the name is taken"
                self.there[after] = self.there.pop(before)
        elif step == "create":
            self.there["-next"] = ("new", "created")
        elif step == "drain":
            self.drained = True
        elif step in ("stop", "end new"):
            assert main is not None
            if step == "stop":
                assert self.drained or main[1] != "running", "stopped while it still got requests"
            self.there[""] = (main[0], "exited")
        elif step == "start":
            assert main is not None
            self.there[""] = (main[0], "running")
        elif step in ("wait", "ask"):
            assert main is not None
            assert main[1] == "running"
            if main[0] == "new" and not self.new_works:
                return False
            self.proven = self.proven or (step == "ask" and main[0] == "new")
        elif step == "undrain":
            assert main is not None, "requests for nobody"
            self.drained = False
        elif step == "forget":
            assert self.proven, "the old one went before the new one had shown that it works"
            self.there.pop("-old", None)
        elif step == "drop":
            self.there.pop("-next", None)
        return True

    def run(self, steps: Sequence[Step]) -> bool:
        return all(self.do(step) for step in steps)

    @property
    def serves(self) -> str:
        """Which one, once everything is clear."""
        which, status = self.there[""]
        assert set(self.there) == {""}, self.there
        assert status == "running"
        assert not self.drained
        return which


def take_up(world: World) -> None:
    """What the next run does."""
    for _ in range(4):
        if world.stand().is_clear:
            return
        here = places.place(world.stand())
        if places.leads_on(here):
            if not world.run(places.on(here)):
                assert world.run(places.back(places.place(world.stand())))
        else:
            assert world.run(places.back(here))
    raise AssertionError(f"it is never put right: {world.there}")


def histories() -> Iterator[tuple[Step, ...]]:
    """Every beginning of a replace, and of its undoing after any step."""
    steps = places.on("untouched")
    for count in range(len(steps) + 1):
        yield steps[:count]
        world = World()
        world.run(steps[:count])
        back = places.back(places.place(world.stand()))
        for undone in range(len(back) + 1):
            yield (*steps[:count], *back[:undone])


ALL = tuple(dict.fromkeys(histories()))


def named(history: Sequence[Step]) -> str:
    return ", ".join(history) or "nothing"


def test_all_steps_lead_to_the_new_one():
    world = World()
    assert world.run(places.on("untouched"))
    assert world.serves == "new"


@pytest.mark.parametrize("count", range(len(places.on("untouched"))))
def test_after_any_step_the_rest_leads_on_and_the_way_back_leads_back(count):
    steps = places.on("untouched")
    on, back = World(), World()
    on.run(steps[:count])
    here = places.place(on.stand())
    assert on.run(places.on(here))
    assert on.serves == "new"
    back.run(steps[:count])
    assert back.run(places.back(here))
    assert back.serves == "old"


@pytest.mark.parametrize("history", ALL, ids=named)
def test_a_run_killed_after_any_step_is_put_right_by_the_next(history):
    world = World()
    world.run(history)
    goes_on = world.there.get("") in {("new", "created"), ("new", "running")}
    take_up(world)
    assert world.serves == ("new" if goes_on else "old")


@pytest.mark.parametrize("history", [h for h in ALL if World(new_works=False).run(h)], ids=named)
def test_a_killed_run_whose_new_container_does_not_work_is_undone(history):
    world = World(new_works=False)
    world.run(history)
    take_up(world)
    assert world.serves == "old"


@pytest.mark.parametrize("history", ALL, ids=named)
def test_ctrl_c_after_any_step_brings_the_old_one_back(history):
    world = World()
    world.run(history)
    assert world.run(places.hurry(places.place(world.stand())))
    assert world.serves == ("new" if history and history[-1] == "forget" else "old")


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("ending", ["-next", "-old"])
def test_what_is_left_alone_gets_the_name_back(ending, works):
    world = World({ending: ("old", "exited")}, drained=True, new_works=works)
    take_up(world)
    assert world.serves == "old"


def test_three_of_them_end_as_one():
    there = {"": ("new", "running"), "-next": ("new", "created"), "-old": ("old", "exited")}
    world = World(there, drained=True)
    take_up(world)
    assert world.serves == "new"


def test_the_old_one_is_removed_last_and_only_after_a_real_answer():
    steps = places.on("untouched")
    assert steps[-4:] == ("wait", "ask", "undrain", "forget")
    assert steps.index("create") < steps.index("drain") < steps.index("stop")
