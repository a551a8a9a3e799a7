"""The cards of the plan: there, and free."""

from __future__ import annotations

from infctl.doctor.checks.gpus import Want, judge
from infctl.figure import GIB
from infctl.gpus import Gpu
from infctl.gpus.held import Holder


def card(index: int, free: float = 22.0, *, name: str = "L4", uuid: str = "", total: float = 22.0) -> Gpu:
    return Gpu(index, name, uuid or f"GPU-{index}", int(total * GIB), free_bytes=int(free * GIB))


def want(index: int, needs: float = 19.8, *services: str, uuid: str = "") -> Want:
    return Want(Gpu(index, "L4", uuid, int(22 * GIB)), services or ("chat0",), int(needs * GIB))


def look(wanted, present, holders=None, ours=(), who=lambda pid: f"process {pid}"):
    return list(judge(wanted, present, holders or {}, set(ours), who))


def test_cards_that_are_there_and_free_are_one_line():
    found = look([want(0), want(1)], [card(0), card(1), card(2)])
    assert [(one.verdict, one.what) for one in found] == [
        ("ok", "GPU 0, 1: there, and free for their engines")
    ]


def test_a_card_of_the_plan_that_is_not_here_is_a_failure_with_those_that_are():
    (found,) = look([want(3)], [card(0)])
    assert (found.verdict, found.path) == ("failure", "gpus")
    assert "GPU 3 of the plan is not here (there: 0 L4); chat0 would run on it" in found.what
    (found,) = look([want(0, uuid="GPU-other")], [card(0)])
    assert found.verdict == "failure"


def test_a_card_is_known_by_its_uuid_wherever_it_sits():
    (found,) = look([want(0, uuid="GPU-x")], [card(5, uuid="GPU-x")])
    assert found.verdict == "ok"


def test_memory_that_another_process_holds_is_told_with_its_name():
    (found,) = look([want(0)], [card(0, free=3.1)], {"GPU-0": (Holder(47, 18 * GIB),)})
    assert found.verdict == "failure"
    assert found.what == "GPU 0 (L4): 3.1 GiB of 22.0 GiB are free, chat0 needs 19.8 GiB"
    assert found.why == "process 47 holds 18.0 GiB"


def test_what_our_own_engines_hold_counts_as_free_for_them():
    (found,) = look([want(0)], [card(0, free=2.2)], {"GPU-0": (Holder(9, int(19.8 * GIB)),)}, ours={9})
    assert found.verdict == "ok"


def test_a_stranger_on_a_card_with_room_is_a_warning_and_a_desktop_none():
    held = {"GPU-0": (Holder(47, GIB),)}
    (found,) = look([want(0, 10.0)], [card(0, free=20.0)], held)
    assert (found.verdict, found.why) == ("warning", "process 47 holds 1.0 GiB")
    (found,) = look([want(0, 10.0)], [card(0, free=21.8)], {"GPU-0": (Holder(47, 100 * 2**20),)})
    assert found.verdict == "ok"


def test_of_many_processes_the_largest_are_named():
    held = {"GPU-0": tuple(Holder(pid, pid * GIB) for pid in range(1, 6))}
    (found,) = look([want(0)], [card(0, free=1.0)], held)
    assert found.why.startswith("process 5 holds 5.0 GiB; process 4")
    assert found.why.endswith("and 2 more")


def test_another_card_than_the_one_that_was_planned_for_is_a_warning():
    found = look([want(0, 10.0)], [card(0, name="T4", free=14.5, total=14.6)])
    assert [one.verdict for one in found] == ["warning", "ok"]
    assert "GPU 0 is a T4 (14.6 GiB), and the plan is for L4 (22.0 GiB)" in found[0].what
    # Another spelling of the same card is none.
    assert [one.verdict for one in look([want(0)], [card(0, name="NVIDIA L4 24GB")])] == ["ok"]


def test_a_card_whose_memory_nobody_tells_is_only_looked_for():
    bare = Gpu(0, "L4", "GPU-0", int(22 * GIB))
    assert [one.verdict for one in look([want(0)], [bare])] == ["ok"]
