"""One site, cards and engines, worked out: who gets what, what it runs with, and what is wrong. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from infctl.figure import MIB, ZERO, Figure
from infctl.plan import failures, kept, notes
from infctl.plan.allot import Allotment, allot
from infctl.plan.asks import Ask, Sizer
from infctl.plan.failures import Failure
from infctl.plan.kept import Running
from infctl.plan.lengths import settled, states_at_once
from infctl.plan.model import GATE, CardUse, Setting
from infctl.plan.notes import Note
from infctl.plan.packing import Site
from infctl.plan.settings import Room, settings
from infctl.plan.start_order import Starter, in_order, shut_out
from infctl.sizing import EngineArgs, MemoryNeed

ROUNDING = 64 * MIB
"""What is left of a card because figures are rounded: less is called nothing."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One replica in its place."""

    service: str
    ask: Ask
    args: EngineArgs
    """What it will run with."""
    need: MemoryNeed
    kv: int | None
    """Bytes of KV cache, where the plan decides."""
    settings: tuple[Setting, ...]

    @property
    def taken(self) -> Figure:
        """Bytes of each of its cards."""
        return self.ask.taken(self.kv)

    @property
    def planned_gate(self) -> bool:
        return any(setting.flag == GATE for setting in self.settings)

    @property
    def gate(self) -> int:
        """Bytes that vLLM wants to find free at its start."""
        own = next((float(setting.value) for setting in self.settings if setting.flag == GATE), None)
        total = self.need.card.total_bytes
        return self.need.budget_bytes if own is None else math.ceil(total * own)


@dataclass(frozen=True, slots=True)
class Worked:
    """A site, and what was found out about it. With failures, the rest is empty."""

    site: Site
    engines: tuple[Engine, ...] = ()
    """In start order."""
    uses: tuple[CardUse, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[Note, ...] = ()


def work_out(site: Site, asks: Sequence[Ask], sizer: Sizer, running: Running) -> Worked:
    """`asks`: in the order of the site's services. `running`: see `infctl.plan.kept`."""
    total = asks[0].need.card.total_bytes
    shares = allot(asks, total)
    wrong = list(_unique(failures.refused(ask, sizer.facts[ask.model]) for ask in asks))
    if not wrong and shares.missing:
        wrong = [failures.too_little(site, asks, shares, sizer.models)]
    if wrong:
        return Worked(site, failures=tuple(wrong))
    shares = kept.shares(shares, [running.get(service, {}) for service, _ in site.services])
    engines = [
        _engine(service, asks, number, shares, sizer, running.get(service, {}))
        for number, (service, _) in enumerate(site.services)
    ]
    wrong = list(_unique(_unfit(engine, sizer) for engine in engines))
    engines, closed = _started(engines, total)
    if not wrong:
        wrong = [failures.shut_out(engine, free, site) for engine, free in closed]
    if wrong:
        return Worked(site, failures=tuple(wrong))
    used = sum((engine.taken for engine in engines), ZERO)
    headroom = max(min(shares.headroom, total - used.expected), 0)
    services = tuple(engine.service for engine in engines)
    uses = tuple(
        CardUse(gpu, services, used, headroom, _free(gpu.memory_bytes - used.expected - headroom))
        for gpu in site.gpus
    )
    told = tuple(notes.of_site(site, engines, total, shares.headroom))
    return Worked(site, tuple(engines), uses, notes=told)


def _engine(
    service: str, asks: Sequence[Ask], number: int, shares: Allotment, sizer: Sizer, flags: Mapping[str, str]
) -> Engine:
    ask, kv = asks[number], shares.kv[number]
    card = ask.need.card
    args, need = settled(
        sizer, ask.model, ask.args if kv is None else replace(ask.args, kv_cache_memory_bytes=kv), card
    )
    others = sum(
        other.taken(size).high
        for index, (other, size) in enumerate(zip(asks, shares.kv, strict=True))
        if index != number
    )
    room = Room(
        card.total_bytes - others, shares.left, shared=sum(ask.open for ask in asks) > 1, running=flags
    )
    decided = settings(ask, args, need, kv, room)
    return Engine(service, ask, args, need, kv, decided)


def _unfit(engine: Engine, sizer: Sizer) -> Failure | None:
    model = engine.ask.model
    if (wrong := failures.unfit(engine.ask, engine.need, sizer.facts[model])) is not None:
        return wrong
    most = states_at_once(sizer, model, engine.need)
    return None if most is None else failures.states(engine.ask, most)


def _started(engines: Sequence[Engine], total: int) -> tuple[list[Engine], list[tuple[Engine, int]]]:
    """(the engines in start order, those that would not get in with the bytes they would find)."""
    by_name = {engine.service: engine for engine in engines}
    order = in_order(
        [
            Starter(e.service, e.gate, e.taken.expected, e.need.context.expected, planned=e.planned_gate)
            for e in engines
        ]
    )
    ordered = [by_name[one.service] for one in order]
    # Refused is what cannot work even where everything turns out small.
    small = [Starter(e.service, e.gate, e.taken.low, e.need.context.low) for e in ordered]
    return ordered, [(by_name[one.service], free) for one, free in shut_out(small, total)]


def _free(size: int) -> int:
    return size if size >= ROUNDING else 0


def _unique(found: Iterator[Failure | None]) -> Iterator[Failure]:
    return iter(dict.fromkeys(failure for failure in found if failure is not None))
