"""From `-f` and `--gpus` to a plan, and to what was measured of it: the reading edge of `infctl plan`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from infctl.cli import machine
from infctl.cli.actual import Start, start_of
from infctl.cli.project import open_project
from infctl.errors import PlanError, Problem
from infctl.figure import gib
from infctl.sizing import DEPLOYED, Card, Resolved

if TYPE_CHECKING:
    from infctl.calibration import Calibration, Lookup
    from infctl.cli.project import Project
    from infctl.gpus import Gpu
    from infctl.models import ModelFacts
    from infctl.plan import Plan, Replica
    from infctl.profile.schema import Profile


@dataclass(frozen=True, slots=True)
class Planned:
    name: str
    plan: Plan
    memory_bytes: int | None
    """Of the machine, where engines run on its CPU."""
    starts: tuple[Start, ...] = ()
    """With `--actual`."""
    warnings: tuple[str, ...] = ()


def make(files: list[Path] | None, gpus: str | None, *, offline: bool, actual: bool) -> Planned:
    """Raises ProfileError, PlanError (what does not fit, a config that cannot be read), UsageError."""
    from infctl.plan import plan
    from infctl.plan.asks import UNKNOWN_MEMORY, nothing_measured

    project = open_project(files)
    cards, profile = _cards(project, gpus)
    facts = _facts(project, profile, offline=offline)
    calibration = _calibration(project) if actual or project.layout.calibration.exists() else None
    known = nothing_measured if calibration is None else _lookup(calibration, profile, facts)
    where = project.loaded.where
    memory = machine.memory() if not cards else None
    room = memory or UNKNOWN_MEMORY
    made = plan(profile, cards, facts, where=where, measured=known, machine_bytes=room)
    starts: tuple[Start, ...] = ()
    if actual and calibration is not None:
        # As it would be had nothing been measured: else a plan is compared with what it was made from.
        blind = plan(profile, cards, facts, where=where, machine_bytes=room)
        pairs = zip(made.replicas, blind.replicas, strict=True)
        starts = tuple(_start(one, other, calibration, profile) for one, other in pairs)
    warnings = (calibration.warning,) if calibration is not None and calibration.warning else ()
    if memory is not None:
        made = replace(made, warnings=(*made.warnings, *_overfull(made, memory, project)))
    return Planned(profile.name, made, memory, starts, warnings)


def _cards(project: Project, written: str | None) -> tuple[tuple[Gpu, ...], Profile]:
    """The cards to plan for, and the profile with those instead of its own."""
    from infctl.gpus import for_profile, parse

    profile = project.profile
    if written is None:
        return for_profile(profile.gpus, project.loaded.where), profile
    cards = parse(written)
    kind = "listed" if cards else "cpu"
    return cards, profile.model_copy(update={"gpus": profile.gpus.model_copy(update={"kind": kind})})


def _overfull(plan: Plan, memory: int, project: Project) -> Iterator[Problem]:
    """On a CPU every engine fits by itself; together they may not."""
    taken = sum(replica.need.footprint.expected for replica in plan.replicas if replica.need is not None)
    if taken > memory:
        told = f"the engines take {gib(taken)} together, and this machine has {gib(memory)}"
        yield Problem(
            told, "models", project.loaded.where("models"), "fewer or smaller models, or fewer replicas"
        )


def _facts(project: Project, profile: Profile, *, offline: bool) -> Mapping[str, ModelFacts]:
    """Of every model. Raises PlanError with all that cannot be read, each at its models/<name>/source."""
    from infctl.models.source import for_profile

    found = for_profile(
        profile,
        folder=project.loaded.base,
        env=project.env,
        where=project.loaded.where,
        offline=True if offline else None,  # None: as HF_HUB_OFFLINE says
    )
    if found.problems:
        raise PlanError("what the models are could not be read", problems=found.problems)
    return found.facts


def _calibration(project: Project) -> Calibration:
    from infctl.calibration import load

    return load(project.layout.calibration)


def _lookup(calibration: Calibration, profile: Profile, facts: Mapping[str, ModelFacts]) -> Lookup:
    from infctl.calibration import lookup

    return lookup(calibration, profile.models, facts)


def _start(made: Replica, blind: Replica, calibration: Calibration, profile: Profile) -> Start:
    """`blind`: as planned before anything was measured. What started may have had either's settings."""
    for replica in (made, blind):
        need = replica.need
        if need is None or need.kv is None:
            continue
        entry = calibration.entry(_key(profile, replica.model, need.resolved, need.card))
        if entry is not None:
            # Of given bytes the tokens follow, whatever was measured; of a share the blind plan foresaw them.
            given = need.resolved.kv_cache_memory_bytes is not None
            source = need if given else (blind.need or need)
            blocks = source.kv.num_blocks if source.kv is not None else None
            return Start(
                replica.service,
                caches=True,
                planned_tokens=entry.planned_tokens or source.kv_tokens.expected,
                planned_blocks=entry.planned_blocks or blocks,
                measured=entry.measured,
            )
    return start_of(made.service, blind.need, None)


def _key(profile: Profile, model: str, resolved: Resolved, card: Card) -> str:
    from infctl.calibration import key, model_name

    return key(model_name(profile.models[model].source), resolved, card, DEPLOYED)
