"""Which replica runs on which card, looking at bytes. Pure.

As `infctl.plan.placement`, and beyond it:

1. Cards of several kinds: the biggest need gets the biggest card. Cards alike are taken in profile order.
2. A replica cut across several cards gets consecutive ones of one kind, where there are such.
3. Fewer cards than places: engines of bounded size (encoders, a KV cache that was written) move together, and
   at last beside an engine whose KV cache takes the rest; as few as must, and only where the bytes allow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from infctl.errors import PlanError, Problem, Where
from infctl.gpus import Gpu
from infctl.plan.allot import allot
from infctl.plan.asks import Ask, Sizer, card_of
from infctl.plan.placement import Group, groups_of, pinned_cards, service_names, services_of, too_many
from infctl.profile.schema import Profile


class TooFewCards(PlanError):  # noqa: N818 - it is what there is
    """Every place needs cards of its own, and they are not there."""

    def __init__(self, problems: Sequence[Problem], model: str, needed: int) -> None:
        super().__init__("the models do not go onto the GPUs", problems=problems)
        self.model = model
        """The one that asks for most."""
        self.needed = needed
        """Cards in all."""


@dataclass(frozen=True, slots=True)
class Site:
    """The cards of one or several engines, which all of these engines use."""

    gpus: tuple[Gpu, ...]
    services: tuple[tuple[str, str], ...]
    """(service, its model), in profile order."""
    moved_in: tuple[str, ...] = ()
    """Services that the plan put beside others, which the profile does not ask for."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """What needs one place: a replica, or the sharers of a card."""

    services: tuple[tuple[str, str], ...]
    width: int


def pack(profile: Profile, gpus: tuple[Gpu, ...], sizer: Sizer, where: Where) -> tuple[Site, ...]:
    """In order of the cards. Raises PlanError where they are too few, or one does not exist."""
    problems: list[Problem] = []
    groups = groups_of(profile, where, problems)
    taken = pinned_cards(profile, groups, gpus, where, problems)
    if problems:
        raise PlanError("the models do not go onto the GPUs", problems=problems)
    sites: list[Site] = []
    units: list[_Unit] = []
    for group in groups:
        own = list(_units(profile, group))
        cards = taken.get(group.models[0])
        if cards is None:
            units += own
            continue
        for number, unit in enumerate(own):
            sites.append(Site(cards[number * unit.width : (number + 1) * unit.width], unit.services))
    used = {gpu.index for site in sites for gpu in site.gpus}
    free = tuple(gpu for gpu in gpus if gpu.index not in used)
    if sum(unit.width for unit in units) <= len(free):
        sites += _apart(units, free, sizer)
    else:
        together = _together(units, free, sizer)
        if together is None:
            worst = max(groups, key=lambda group: group.need).models[0]
            needed = sum(group.need for group in groups)
            raise TooFewCards(too_many(profile, groups, gpus, where), worst, needed)
        sites += together
    order = {(service, name): number for number, (name, service) in enumerate(services_of(profile))}
    sites = [replace(s, services=tuple(sorted(s.services, key=order.__getitem__))) for s in sites]
    return tuple(sorted(sites, key=lambda site: site.gpus[0].index))


def asks_of(site: Site, sizer: Sizer) -> tuple[Ask, ...] | None:
    """In the order of the site's services. None: not all is known of the models or of the card."""
    return _asks(site.services, site.gpus, sizer)


def _asks(services: Sequence[tuple[str, str]], gpus: tuple[Gpu, ...], sizer: Sizer) -> tuple[Ask, ...] | None:
    card = card_of(gpus)
    if card is None or not all(sizer.knows(model) for _, model in services):
        return None
    return tuple(sizer.ask(model, card) for _, model in services)


def _units(profile: Profile, group: Group) -> Iterator[_Unit]:
    services = tuple(
        (service, name) for name in group.models for service in service_names(name, profile.models[name])
    )
    if group.shared:
        yield _Unit(services, group.width)
    else:
        for service in services:
            yield _Unit((service,), group.width)


def _apart(units: Sequence[_Unit], free: tuple[Gpu, ...], sizer: Sizer) -> list[Site]:
    """Every unit on cards of its own; there are enough."""
    if len({_kind(gpu) for gpu in free}) > 1:
        biggest = max(free, key=lambda gpu: gpu.memory_bytes)
        ordered = sorted(units, key=lambda unit: -_size(unit, biggest, sizer))
        return _take(ordered, free) or _any(ordered, free)
    wide_first = sorted(units, key=lambda unit: -unit.width)
    return _take(units, free) or _take(wide_first, free) or _any(units, free)


def _take(units: Sequence[_Unit], free: tuple[Gpu, ...]) -> list[Site] | None:
    """Consecutive cards of one kind for each, from the largest kind down; None where that runs out."""
    left = list(free)
    sites = []
    for unit in units:
        runs = [left[start : start + unit.width] for start in range(len(left) - unit.width + 1)]
        whole = [run for run in runs if _neighbours(run)]
        if not whole:
            return None
        cards = max(whole, key=lambda run: run[0].memory_bytes)
        sites.append(Site(tuple(cards), unit.services))
        left = [gpu for gpu in left if gpu not in cards]
    return sites


def _neighbours(run: Sequence[Gpu]) -> bool:
    return all(a.index + 1 == b.index and _kind(a) == _kind(b) for a, b in pairwise(run))


def _any(units: Sequence[_Unit], free: tuple[Gpu, ...]) -> list[Site]:
    """For each the largest that are left: of cards that are not alike, the smallest decides."""
    left = list(free)
    sites = []
    for unit in units:
        largest = sorted(left, key=lambda gpu: -gpu.memory_bytes)[: unit.width]
        sites.append(Site(tuple(gpu for gpu in left if gpu in largest), unit.services))
        left = [gpu for gpu in left if gpu not in largest]
    return sites


def _kind(gpu: Gpu) -> tuple[str, int]:
    return gpu.name, gpu.memory_bytes


def _size(unit: _Unit, card: Gpu, sizer: Sizer) -> int:
    """The least bytes a rank; 0: not known."""
    asks = _asks(unit.services, (card,), sizer)
    if asks is None:
        return 0
    return sum(ask.taken(ask.least if ask.open else None).high for ask in asks)


def _together(units: Sequence[_Unit], free: tuple[Gpu, ...], sizer: Sizer) -> list[Site] | None:
    """Engines of bounded size share; None: that does not help."""
    if not free:
        return None
    biggest = max(free, key=lambda gpu: gpu.memory_bytes)
    small = [unit for unit in units if _is_small(unit, biggest, sizer)]
    anchors = [unit for unit in units if unit not in small]
    if not small or sum(unit.width for unit in anchors) > len(free):
        return None
    # The largest of the small ones get what is left of the cards; the others move in with somebody.
    small.sort(key=lambda unit: -_size(unit, biggest, sizer))
    alone = len(free) - sum(unit.width for unit in anchors)
    settled = [*anchors, *small[:alone]]
    sites = _apart([unit for unit in units if unit in settled], free, sizer)
    for unit in small[alone:]:
        site = _host(unit, sites, sizer)
        if site is None:
            return None
        moved = tuple(service for service, _ in unit.services)
        joined = Site(site.gpus, site.services + unit.services, site.moved_in + moved)
        sites = [joined if other is site else other for other in sites]
    return sites


def _is_small(unit: _Unit, card: Gpu, sizer: Sizer) -> bool:
    asks = _asks(unit.services, (card,), sizer)
    return unit.width == 1 and asks is not None and all(ask.bounded for ask in asks)


def _host(unit: _Unit, sites: Sequence[Site], sizer: Sizer) -> Site | None:
    """Best fit beside small ones; else beside the engine that loses least: one that has the most replicas."""
    copies: dict[str, int] = {}
    for site in sites:
        for _, model in site.services:
            copies[model] = copies.get(model, 0) + 1
    choices = []
    for number, site in enumerate(sites):
        asks = _asks(site.services + unit.services, site.gpus, sizer) if len(site.gpus) == 1 else None
        if asks is None:
            continue
        found = allot(asks, asks[0].need.card.total_bytes)
        if found.missing:
            continue
        least = found.left - sum(ask.least for ask in asks if ask.open)
        beside_large = any(not ask.bounded for ask in asks)
        if beside_large:
            rank = (1, -max(copies[model] for _, model in site.services), -least, -number)
        else:
            rank = (0, least, 0, number)
        choices.append((rank, site))
    return min(choices, key=lambda choice: choice[0])[1] if choices else None
