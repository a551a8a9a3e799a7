"""Is every card of the plan there, and has it the memory that the plan gives away?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from infctl.doctor.case import Case
from infctl.doctor.finding import Finding, failure, of_problem, ok, skipped, warning
from infctl.doctor.ours import own_processes
from infctl.engine import procfs
from infctl.errors import Problem
from infctl.figure import MIB, gib
from infctl.gpus import Gpu, detect
from infctl.gpus.held import Holder
from infctl.gpus.held import look as look_at_driver
from infctl.plan import Plan

IDLE_BYTES = 256 * MIB
"""A desktop or a monitor may hold this much of a card that counts as idle."""
SHOWN = 3
"""Processes named for a card."""
COMMAND_MAX = 60


@dataclass(frozen=True, slots=True)
class Want:
    """One card of the plan."""

    gpu: Gpu
    services: tuple[str, ...]
    bytes: int
    """That its engines take together; 0: nobody sized them."""


def look(case: Case) -> Iterator[Finding]:
    if case.plan is None:
        return
    if case.elsewhere:
        yield skipped("Docker runs on another machine, and its cards are not seen from here")
        return
    driver = look_at_driver()
    if driver is None:
        yield skipped("there is no NVIDIA driver to ask")
        return
    yield from judge(wants(case.plan), detect(), driver.holders, own_processes(case), _who)


def wants(plan: Plan) -> tuple[Want, ...]:
    """The cards that engines are planned onto, by index."""
    used = {use.gpu.index: use for use in plan.uses}
    cards = {gpu.index: gpu for replica in plan.replicas for gpu in replica.gpus}
    return tuple(
        Want(
            gpu,
            used[index].services
            if index in used
            else tuple(r.service for r in plan.replicas if gpu in r.gpus),
            used[index].used.expected if index in used else 0,
        )
        for index, gpu in sorted(cards.items())
    )


def judge(
    wanted: Sequence[Want],
    present: Sequence[Gpu],
    holders: Mapping[str, tuple[Holder, ...]],
    ours: Collection[int],
    who: Callable[[int], str],
) -> Iterator[Finding]:
    """`ours`: processes of this platform. `who`: a process's id -> what it is, in words."""
    good = []
    for want in wanted:
        card = _found(want.gpu, present)
        if card is None:
            yield _missing(want, present)
            continue
        if want.gpu.name and card.name != want.gpu.name and not _alike(want.gpu, card):
            yield warning(
                f"GPU {card.index} is a {card.name} ({gib(card.memory_bytes)}), and the plan is for"
                f" {want.gpu.name} ({gib(want.gpu.memory_bytes)})",
                why="what the plan gives away may not be there",
                fix="write the cards that are there, or gpus: detect",
                path="gpus",
            )
        held = [holder for holder in holders.get(card.uuid, ()) if holder.pid not in ours]
        own = sum(holder.bytes or 0 for holder in holders.get(card.uuid, ()) if holder.pid in ours)
        finding = _memory(want, card, held, own, who)
        if finding is None:
            good.append(str(card.index))
        else:
            yield finding
    if good:
        many = f"GPU {', '.join(good)}"
        yield ok(f"{many}: there, and free for {'its' if len(good) == 1 else 'their'} engines")


def _found(gpu: Gpu, present: Sequence[Gpu]) -> Gpu | None:
    if gpu.uuid:
        return next((card for card in present if card.uuid == gpu.uuid), None)
    return next((card for card in present if card.index == gpu.index), None)


def _missing(want: Want, present: Sequence[Gpu]) -> Finding:
    there = ", ".join(f"{card.index} {card.name}" for card in present) or "none"
    name = want.gpu.uuid or str(want.gpu.index)
    problem = Problem(
        f"GPU {name} of the plan is not here (there: {there}); {', '.join(want.services)} would run on it",
        "gpus",
        None,
        "nvidia-smi -L lists the cards; write those under gpus, or gpus: detect",
    )
    return of_problem(problem)


def _alike(planned: Gpu, card: Gpu) -> bool:
    """By memory: names differ in their spelling."""
    if not planned.memory_bytes or not card.memory_bytes:
        return True
    return abs(planned.memory_bytes - card.memory_bytes) <= 0.03 * card.memory_bytes


def _memory(
    want: Want, card: Gpu, held: Sequence[Holder], own: int, who: Callable[[int], str]
) -> Finding | None:
    """None: nothing is to be said."""
    if card.free_bytes is None:
        return None
    room = card.free_bytes + own
    names = " and ".join(want.services)
    by = _told(held, who)
    if want.bytes > room:
        return failure(
            f"GPU {card.index} ({card.name}): {gib(room)} of {gib(card.memory_bytes)} are free,"
            f" {names} need{'s' * (len(want.services) == 1)} {gib(want.bytes)}",
            why=by or "nobody says what holds the rest: a process of another container or user",
            fix="end what holds it (nvidia-smi shows it), or plan these models onto another card",
            path="gpus",
        )
    strangers = sum(holder.bytes or 0 for holder in held)
    if strangers > IDLE_BYTES or (want.bytes == 0 and by):
        return warning(
            f"GPU {card.index} ({card.name}) is not idle: {gib(strangers)} are held by others",
            why=by,
            fix="what it holds is missing to the engines when it grows; end it, or move it to another card",
            path="gpus",
        )
    return None


def _told(held: Sequence[Holder], who: Callable[[int], str]) -> str:
    first = sorted(held, key=lambda holder: -(holder.bytes or 0))
    told = [
        f"{who(holder.pid)} holds {gib(holder.bytes) if holder.bytes is not None else 'some'}"
        for holder in first[:SHOWN]
    ]
    more = len(first) - SHOWN
    return "; ".join([*told, f"and {more} more"] if more > 0 else told)


def _who(pid: int) -> str:
    command = procfs.command_line(pid)
    command = command if len(command) <= COMMAND_MAX else f"{command[: COMMAND_MAX - 1]}…"
    return f"process {pid} ({command or 'of another container or user'})"
