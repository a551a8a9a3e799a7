"""Profile, cards and facts -> a plan without advice: placed, shared out, and what is wrong. Pure.

`infctl.plan.sized` turns failures into errors with remedies, and looks for idle memory; both ask this module
what would be if the profile were another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infctl.errors import Problem, Where
from infctl.figure import ZERO
from infctl.gpus import Gpu
from infctl.models import ModelFacts
from infctl.plan import notes
from infctl.plan.asks import Sizer, card_of
from infctl.plan.failures import Failure, refused, unfit
from infctl.plan.kept import NOTHING_RUNS, Running
from infctl.plan.model import CardUse, Plan, Replica
from infctl.plan.notes import Note
from infctl.plan.packing import Site, asks_of, pack
from infctl.plan.placement import equal_parts, groups_of, services_of
from infctl.plan.sites import Worked, work_out
from infctl.profile.schema import Profile
from infctl.sizing import Card


@dataclass(frozen=True, slots=True)
class Draft:
    replicas: tuple[Replica, ...]
    """In profile order."""
    uses: tuple[CardUse, ...] = ()
    failures: tuple[Failure, ...] = ()
    told: tuple[Note, ...] = ()

    @property
    def failed(self) -> frozenset[str]:
        """Models that do not fit."""
        return frozenset(model for failure in self.failures for model in failure.models)

    def tokens(self, model: str) -> tuple[int, ...]:
        """KV tokens of each replica, as expected."""
        return tuple(
            replica.need.kv_tokens.expected if replica.need is not None else 0
            for replica in self.replicas
            if replica.model == model
        )

    def plan(self, gpus: tuple[Gpu, ...], facts: Mapping[str, ModelFacts], where: Where) -> Plan:
        """What is known so far, as a plan."""
        return Plan(
            self.replicas,
            gpus,
            self.uses,
            warnings=tuple(_problem(note, where) for note in self.told if note.warns),
            notes=tuple(_problem(note, where) for note in self.told if not note.warns),
            facts=facts,
        )


def draft(
    profile: Profile, gpus: tuple[Gpu, ...], sizer: Sizer, where: Where, running: Running = NOTHING_RUNS
) -> Draft:
    """`running`: see `infctl.plan.kept`.

    Raises PlanError where the cards are too few, or one is asked for that is not there.
    """
    if profile.gpus.kind == "cpu":
        return _on_cpu(profile, sizer)
    sites = pack(profile, gpus, sizer, where)
    parts = equal_parts(profile, groups_of(profile, where, []))
    replicas: dict[str, Replica] = {}
    uses: list[CardUse] = []
    failed: list[Failure] = []
    told = list(_misused(profile, sizer))
    for site in sites:
        asks = asks_of(site, sizer)
        if asks is None:
            told += _unsized(site, sizer)
            for service, model in site.services:
                replicas[service] = Replica(service, model, site.gpus, parts.get(model))
            continue
        worked = work_out(site, asks, sizer, running)
        replicas |= {replica.service: replica for replica in _replicas(worked)}
        uses += worked.uses
        failed += worked.failures
        told += worked.notes
    if uses:
        empty = [gpu for gpu in gpus if gpu.index not in {g.index for site in sites for g in site.gpus}]
        uses += [CardUse(gpu, (), ZERO, 0, gpu.memory_bytes) for gpu in empty]
    return Draft(
        tuple(replicas[service] for _, service in services_of(profile) if service in replicas),
        tuple(sorted(uses, key=lambda use: use.gpu.index)),
        tuple(dict.fromkeys(failed)),
        tuple(dict.fromkeys(told)),
    )


def _replicas(worked: Worked) -> Iterator[Replica]:
    before: str | None = None
    for engine in worked.engines:
        yield Replica(
            engine.service,
            engine.ask.model,
            worked.site.gpus,
            settings=engine.settings,
            need=engine.need,
            starts_after=before,
        )
        before = engine.service


def _unsized(site: Site, sizer: Sizer) -> Iterator[Note]:
    if card_of(site.gpus) is None:
        yield notes.unknown_memory(site.gpus)
    for _, model in site.services:
        if not sizer.knows(model):
            yield notes.unsized(model)


def _on_cpu(profile: Profile, sizer: Sizer) -> Draft:
    """Each engine has the KV cache it is given; nothing is shared out."""
    card = Card("CPU", sizer.machine_bytes, cpu=True)
    replicas = []
    failed: list[Failure] = []
    for name, service in services_of(profile):
        if not sizer.knows(name):
            replicas.append(Replica(service, name))
            continue
        ask = sizer.ask(name, card)
        replicas.append(Replica(service, name, need=ask.need))
        found = refused(ask, sizer.facts[name]) or unfit(ask, ask.need, sizer.facts[name])
        if found is not None:
            failed.append(found)
    return Draft(
        tuple(replicas),
        failures=tuple(dict.fromkeys(failed)),
        told=tuple(_misused(profile, sizer)),
    )


def _misused(profile: Profile, sizer: Sizer) -> Iterator[Note]:
    for name, model in profile.models.items():
        if sizer.knows(name):
            yield from notes.only_pools(name, model, sizer.facts[name])


def _problem(note: Note, where: Where) -> Problem:
    return Problem(note.message, note.path, where(note.path), note.hint)
