"""A gateway replaced behind nginx: nobody whom nginx may still use is ended, whatever fails or is killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from infctl.engine.docker import rollout_turns as turns
from infctl.engine.docker.rollout_turns import Scene, Step


@dataclass
class Box:
    """One gateway's container."""

    which: str
    runs: bool = True
    connected: bool = True
    ending: bool = False


@dataclass
class World:
    """Two containers, and whom nginx may use: by its configuration, by old workers, by names of before."""

    there: dict[str, Box] = field(default_factory=lambda: {"main": Box("old")})
    pointed: Box | None = None
    lingering: list[Box] = field(default_factory=list)
    """Whom old workers may use."""
    looked_up: list[Box] = field(default_factory=list)
    """What nginx has of the name."""

    def __post_init__(self) -> None:
        self.looked_up = self.named

    @property
    def named(self) -> list[Box]:
        """Docker's names."""
        return [box for box in self.there.values() if box.runs and box.connected]

    @property
    def used(self) -> list[Box]:
        now = [self.pointed] if self.pointed is not None else [*self.looked_up, *self.named]
        return [*now, *self.lingering]

    def scene(self) -> Scene:
        main, new = self.there.get("main"), self.there.get("next")
        return Scene(
            main_runs=main is not None and main.runs,
            main_there=main is not None,
            next_there=new is not None,
            next_runs=new is not None and new.runs,
            is_connected=new is not None and new.connected,
            is_ending=main is not None and main.ending,
            is_pointed=self.pointed is not None,
        )

    def do(self, step: Step) -> None:  # noqa: C901 - a step a branch
        if step == "make":
            self.there["next"] = Box("new", connected=False)
        elif step == "connect":
            self.there["next"].connected = True
        elif step in ("hold", "turn"):
            self.lingering = self.used
            self.pointed = self.there["main" if step == "hold" else "next"]
            assert self.pointed.runs
            assert self.pointed.connected
        elif step == "keep":
            self.lingering = []
        elif step in ("end", "end next"):
            self._end(self.there["main" if step == "end" else "next"])
        elif step == "take over":
            gone = self.there.pop("main", None)
            assert gone is None or not gone.runs
            self.there["main"] = self.there.pop("next")
        elif step == "look up":
            self.looked_up = self.named
        elif step == "release":
            if self.pointed is not None:
                assert self.looked_up, "nginx begins without an address"
                assert all(box.runs for box in self.looked_up), "nginx begins with a dead one"
                self.lingering, self.pointed = self.used, None
        elif step == "drop":
            box = self.there.pop("next")
            assert not box.runs or box not in self.used, "removed while nginx used it"
            box.runs = False
        elif step == "revive":
            self.there["main"].runs = True

    def _end(self, box: Box) -> None:
        assert box not in self.used, f"{box.which} was ended while nginx used it"
        box.runs = False

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.do(step)

    def mend(self) -> None:
        """What every run does first: the file as rendered, nginx by the name."""
        if self.pointed is not None:
            self.run(("look up", "release"))

    @property
    def serves(self) -> str:
        assert set(self.there) == {"main"}, self.there
        box = self.there["main"]
        assert box.runs
        assert box.connected
        assert self.pointed is None
        assert all(one is box for one in self.used if one not in self.lingering)
        return box.which


def histories() -> Iterator[tuple[Step, ...]]:
    """Every beginning of a replace, and of its undoing after any step before the end of the old one."""
    for count in range(len(turns.ON) + 1):
        yield turns.ON[:count]
        if count <= turns.NO_WAY_BACK:
            world = World()
            world.run(turns.ON[:count])
            back = turns.undo(world.scene())
            for undone in range(len(back) + 1):
                yield (*turns.ON[:count], *back[:undone])


ALL = tuple(dict.fromkeys(histories()))


def named(history: Sequence[Step]) -> str:
    return ", ".join(history) or "nothing"


def test_all_steps_lead_to_the_new_one():
    world = World()
    world.run(turns.ON)
    assert world.serves == "new"


@pytest.mark.parametrize("count", range(turns.NO_WAY_BACK + 1))
def test_what_fails_before_the_old_one_ends_is_undone(count):
    world = World()
    world.run(turns.ON[:count])
    world.run(turns.undo(world.scene()))
    assert world.serves == "old"


@pytest.mark.parametrize("mended", [True, False])
@pytest.mark.parametrize("history", ALL, ids=named)
def test_a_run_killed_after_any_step_is_put_right_by_the_next(history, mended):
    world = World()
    world.run(history)
    ended = world.there["main"].which == "new" or not world.there["main"].runs
    world.lingering = []  # a new run begins later than old workers live
    if mended:
        world.mend()
    world.run(turns.take_up(world.scene()))
    assert world.serves == ("new" if ended else "old")


def test_a_run_killed_while_the_old_one_ends_its_streams_is_finished():
    world = World()
    world.run(turns.ON[: turns.NO_WAY_BACK])
    world.there["main"].ending = True
    world.mend()
    world.run(turns.take_up(world.scene()))
    assert world.serves == "new"


@pytest.mark.parametrize("history", ALL, ids=named)
def test_ctrl_c_after_any_step_leaves_nginx_somebody_to_use(history):
    world = World()
    world.run(history)
    world.run(turns.hurry(world.scene()))
    assert any(box.runs for box in world.used)


@pytest.mark.parametrize("connected", [True, False])
def test_two_that_have_both_ended_leave_the_old_one_running(connected):
    there = {"main": Box("old", runs=False), "next": Box("new", runs=False, connected=connected)}
    world = World(there)
    world.run(turns.take_up(world.scene()))
    assert world.serves == "old"


def test_a_new_one_that_is_alone_and_has_ended_gets_the_name_and_runs():
    world = World({"next": Box("new", runs=False, connected=False)})
    world.run(turns.take_up(world.scene()))
    assert world.serves == "new"


def test_a_file_that_alone_was_left_is_put_back():
    box = Box("new")
    world = World({"main": box}, pointed=box)
    world.run(turns.take_up(world.scene()))
    assert world.serves == "new"
