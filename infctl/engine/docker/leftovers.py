"""What an interrupted replace left behind, recognised by its name, and what puts it right. Pure.

    vllm-chat0 and vllm-chat0-old, the new one works     the old one is removed
    vllm-chat0 and vllm-chat0-old, it does not           the new one is removed, the old one comes back
    vllm-chat0-old alone                                 it comes back
    vllm-chat0 and vllm-chat0-next, the old one works    the next one is removed
    vllm-chat0-next alone, or the old one has ended      it takes the name

A container of ours with any other name goes if there is one of the right name; else it is the one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from infctl.engine.docker.observed import Seen
from infctl.engine.docker.swap import NEXT, OLD
from infctl.stack.containers import Project


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing to do before anything else, and why."""

    verb: Literal["remove", "rename"]
    container: Seen
    name: str = ""
    """rename: its new one."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    containers: tuple[Seen, ...]
    """As they will be when the repairs are done: one for each (project, service, number)."""
    repairs: tuple[Repair, ...] = ()


def settle(found: Iterable[Seen], projects: Iterable[Project]) -> Settled:
    """`projects`: as wanted; what they do not know keeps its name."""
    names = {
        (project.name, container.service, number): container.container_name(project.name, number)
        for project in projects
        for container in project.containers
        for number in range(1, container.count + 1)
    }
    slots: dict[tuple[str, str, int], list[Seen]] = {}
    for one in found:
        slots.setdefault((one.project, one.service, one.number), []).append(one)
    kept, repairs = [], []
    for slot, several in slots.items():
        name = names.get(slot) or _plain(several)
        one, todo = _settle(name, several)
        kept.append(one)
        repairs += todo
    return Settled(tuple(kept), tuple(repairs))


def _plain(several: list[Seen]) -> str:
    """The name without an ending of ours."""
    shortest = min((one.name for one in several), key=len)
    return shortest.removesuffix(OLD).removesuffix(NEXT)


def _settle(name: str, several: list[Seen]) -> tuple[Seen, list[Repair]]:
    by_name = {one.name: one for one in several}
    present, old, next_ = by_name.get(name), by_name.get(f"{name}{OLD}"), by_name.get(f"{name}{NEXT}")
    stays = _who_stays(present, old, next_) or several[0]
    # A removal first: it makes the name free.
    repairs = [
        Repair("remove", one, why=f"left by an interrupted replace of {name}")
        for one in several
        if one is not stays
    ]
    if stays in (old, next_):
        repairs.append(Repair("rename", stays, name, f"left by an interrupted replace; it is {name} again"))
        stays = replace(stays, name=name)
    return stays, repairs


def _who_stays(present: Seen | None, old: Seen | None, next_: Seen | None) -> Seen | None:
    if present is not None and present.is_ready:
        return present
    if next_ is not None and next_.is_ready:
        return next_
    return old or present or next_
