"""The cards a profile's `gpus` means, on this machine or from the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infctl.errors import Location, PlanError, Problem, Where, nowhere
from infctl.gpus.card import Gpu
from infctl.gpus.catalogue import lookup, nearest
from infctl.gpus.detection import detect

if TYPE_CHECKING:  # its classes take a third of a second to build
    from infctl.profile.schema import GpuDevice, Gpus


def for_profile(gpus: Gpus, where: Where = nowhere) -> tuple[Gpu, ...]:
    """Empty for `gpus: cpu`. Raises PlanError where the machine has to be asked and cannot answer."""
    if gpus.kind == "cpu":
        return ()
    if gpus.kind == "listed":
        return listed(gpus.devices, where)
    return detect()


def listed(devices: tuple[GpuDevice, ...], where: Where = nowhere) -> tuple[Gpu, ...]:
    """Cards as the profile writes them; those without an index take the free ones in order. Pure.

    Written memory wins over the catalogue. A card with neither a name nor memory is placed, not measured.
    Raises PlanError for a name nobody knows where no memory is written.
    """
    taken = {device.index for device in devices if device.index is not None}
    free = iter(n for n in range(len(devices) + len(taken)) if n not in taken)
    cards = []
    problems: list[Problem] = []
    for number, device in enumerate(devices):
        name = device.name or ""
        known = lookup(name)
        path = f"gpus/{number}/name"
        if device.memory is None and (device.uuid or "").startswith("MIG-"):
            problems.append(
                Problem(
                    "a MIG device is a part of a card, and how much of it is not looked up",
                    path=f"gpus/{number}/uuid",
                    where=where(f"gpus/{number}/uuid"),
                    hint="write its memory beside it: memory: 10GiB",
                )
            )
        elif device.memory is None and name and known is None:
            problem = unknown(name, path, where(path))
            if not any(problem.message == other.message for other in problems):
                problems.append(problem)
        cards.append(
            Gpu(
                index=device.index if device.index is not None else next(free),
                name=name,
                uuid=device.uuid or "",
                memory_bytes=device.memory or (known.memory_bytes if known else 0),
                nominal=device.memory is None and known is not None and known.nominal,
                capability=known.capability if known else None,
            )
        )
    if problems:
        raise PlanError("the GPUs cannot be planned", problems=problems)
    return tuple(sorted(cards, key=lambda card: card.index))


def unknown(name: str, path: str = "", where: Location | None = None) -> Problem:
    """A name that is not in the catalogue, with what would be right."""
    *some, last = nearest(name, 3)
    return Problem(
        f"no card called {name} is in the catalogue",
        path=path,
        where=where,
        hint=f"close to it: {', '.join(some)} and {last}; any card goes with its memory: "
        f"gpus: [{{name: {name}, memory: 24GiB}}]",
    )
